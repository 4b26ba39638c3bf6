"""Corruptions of scatterers on a lattice: those that are added lie on its sites too."""

import numpy as np
import pytest

from qpibench.errors import UsageError
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

FEW = ["kernels.count=10", "observations_per_kernel=10"]
UNSEEN, SPURIOUS, MISSING = (
    f"corruptions.{setting}"
    for setting in ("unseen_scatterers.reach_nm=4", "spurious_scatterers.share=0.5", "missing_scatterers.share=0.3")
)


def spec_with(*overrides):
    return load_spec("square_64", overrides=[*FEW, *overrides])


def made(*overrides):
    backend, spec = get_backend("cpu")[0], spec_with(*overrides)
    draft = backend.observations(spec, backend.kernels(spec), 0, spec.observation_count)
    return spec, draft


def distance_from_sites(spec, position):
    """Distance of positions from the nearest sites of a square lattice, in lattice constants."""
    ranges = spec.kernels
    c, s = np.cos(ranges.angle_rad), np.sin(ranges.angle_rad)
    place = (position - np.array(ranges.origin_nm)) @ np.array([[c, -s], [s, c]]) / ranges.lattice_nm
    return np.abs(place - np.rint(place)).max()


def rows(position):
    return [each[~np.isnan(each[:, 0])] for each in position]


def test_unseen_scatterers_lie_on_sites_of_their_own_outside_the_field():
    (spec, observations), (_, clean) = made(UNSEEN), made()
    half = np.array([spec.grid.size_x_nm, spec.grid.size_y_nm]) / 2
    assert observations.extra["n_unseen"].mean() > 1
    for place, drawn, told in zip(
        rows(observations.position_nm), rows(clean.position_nm), rows(observations.told), strict=True
    ):
        np.testing.assert_array_equal(place[: len(drawn)], drawn)
        np.testing.assert_array_equal(told, drawn)
        assert distance_from_sites(spec, place) < 1e-9
        assert len(np.unique(place.round(6), axis=0)) == len(place)
        assert (np.abs(place[len(drawn) :]) > half).any(axis=1).all()
        assert (np.abs(place[len(drawn) :]) <= half + 4).all()


def test_spurious_positions_lie_on_sites_where_no_scatterer_is_told():
    (spec, observations), (_, clean) = made(SPURIOUS, MISSING), made(MISSING)
    assert observations.extra["n_spurious"].sum() > 100
    for told, kept, number in zip(
        rows(observations.told), rows(clean.told), observations.extra["n_spurious"], strict=True
    ):
        assert distance_from_sites(spec, told) < 1e-9
        assert len(np.unique(told.round(6), axis=0)) == len(told) == len(kept) + number
        assert set(map(tuple, kept)) <= set(map(tuple, told))
        assert (np.abs(told) <= np.array([spec.grid.size_x_nm, spec.grid.size_y_nm]) / 2).all()


@pytest.mark.parametrize(
    ("corruption", "words"),
    [
        (
            "unseen_scatterers={reach_nm=4, density_per_nm2=20}",
            "lattice sites, and there are",
        ),
        ("spurious_scatterers.share=1", "spurious_scatterers.share = 1 needs up to 8000 lattice sites in the field"),
    ],
)
def test_more_scatterers_than_sites_are_refused(corruption, words):
    most = "scatterers.max=4000" if "spurious" in corruption else "scatterers.max=9"
    with pytest.raises(UsageError) as refused:
        spec_with(f"corruptions.{corruption}", most)
    assert words in str(refused.value)
