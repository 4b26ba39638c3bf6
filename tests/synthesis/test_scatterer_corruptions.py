"""Corruptions of the scatterers: amplitudes that vary, and scatterers outside the field that nobody is told of."""

import numpy as np
import pytest
from scipy import stats

from qpibench.corruptions import amplitude_spread
from qpibench.errors import UsageError
from qpibench.families import get_family
from qpibench.physics.superposition import superpose
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

MANY = ["kernels.count=20", "observations_per_kernel=25", "grid.ny=16", "grid.nx=16", "kernels.wavelength_nm=[3, 6]"]
SPREAD = "corruptions.amplitude_spread.relative_std=0.4"
UNSEEN = "corruptions.unseen_scatterers.reach_nm=3"


def spec_with(*overrides):
    return load_spec("mini", overrides=[*MANY, *overrides])


def made(*overrides):
    backend, spec = get_backend("cpu")[0], spec_with(*overrides)
    return backend.observations(spec, backend.kernels(spec), 0, spec.observation_count)


def exists(observations):
    return np.arange(observations.position_nm.shape[1]) < observations.n_scatterers[:, None]


def reference_image(spec, observations, row, amplitude=None):
    kernels = get_backend("cpu")[0].kernels(spec)
    parameters = {name: values[observations.kernel[row]] for name, values in kernels.parameters.items()}
    return superpose(spec.grid, get_family("eq7"), observations.position_nm[row], amplitude, **parameters)


@pytest.mark.parametrize("relative_std", [0.01, 0.4, 2.0])
def test_amplitudes_are_log_normal_with_mean_one_and_the_stated_deviation(relative_std):
    observations = made(f"corruptions.amplitude_spread.relative_std={relative_std}")
    drawn = observations.extra["amplitude"][exists(observations)].astype(np.float64)
    sigma = np.sqrt(np.log1p(relative_std**2))
    normal = (np.log(drawn) + sigma**2 / 2) / sigma
    assert (drawn > 0).all()
    assert stats.kstest(normal, "norm").pvalue > 0.01
    assert drawn.mean() == pytest.approx(1, abs=4 * relative_std / np.sqrt(drawn.size))
    assert normal.std() == pytest.approx(1, abs=4 / np.sqrt(2 * drawn.size))
    np.testing.assert_allclose(amplitude_spread.reference(normal, relative_std), drawn, rtol=1e-12)


def test_amplitudes_follow_from_normal_numbers_to_the_last_digit_of_float32():
    few, much = (made(f"corruptions.amplitude_spread.relative_std={std}") for std in (0.01, 0.7))
    there = exists(few)
    normal = (np.log(much.extra["amplitude"][there].astype(np.float64)) + np.log1p(0.49) / 2) / np.sqrt(np.log1p(0.49))
    np.testing.assert_allclose(few.extra["amplitude"][there], amplitude_spread.reference(normal, 0.01), rtol=1.5e-7)


def test_an_image_is_the_sum_of_its_scatterers_with_their_amplitudes():
    observations, clean = made(SPREAD), made()
    np.testing.assert_array_equal(observations.position_nm, clean.position_nm)
    assert observations.told_position_nm is None
    assert (observations.extra["amplitude"][~exists(observations)] == 1).all()
    for row in (0, 133, 499):
        expected = reference_image(spec_with(SPREAD), observations, row, observations.extra["amplitude"][row])
        assert np.abs(observations.image[row] - expected).max() < 5e-6 * np.abs(expected).max()


def test_a_scatterer_keeps_its_amplitude_when_unseen_ones_are_added():
    alone, both = made(SPREAD), made(SPREAD, UNSEEN)
    there = exists(alone)
    np.testing.assert_array_equal(both.extra["amplitude"][:, :100][there], alone.extra["amplitude"][there])
    drawn = np.arange(both.position_nm.shape[1]) < alone.n_scatterers[:, None]
    unseen = both.extra["amplitude"][exists(both) & ~drawn]
    assert unseen.size == both.extra["n_unseen"].sum()
    assert unseen.std() == pytest.approx(0.4, rel=0.05)


def unseen_of(observations, clean):
    """Unseen positions of all observations, one below the other."""
    return np.concatenate(
        [
            place[drawn:count]
            for place, drawn, count in zip(
                observations.position_nm, clean.n_scatterers, observations.n_scatterers, strict=True
            )
        ]
    )


@pytest.mark.parametrize(("margin_nm", "hole_nm"), [(0, 5), (-2, 5), (1.5, 6.5)])
def test_unseen_scatterers_are_uniform_in_the_frame_around_the_field(margin_nm, hole_nm):
    margin = f"scatterers.margin_nm={margin_nm}"
    observations, clean = made(UNSEEN, margin), made(margin)
    x, y = unseen_of(observations, clean).T
    largest = np.maximum(np.abs(x), np.abs(y))
    assert hole_nm < largest.min()
    assert largest.max() < 8
    # The areas of squares of half side h are uniform; so is the place along the border, by symmetry each octant's.
    inside = (largest**2 - hole_nm**2) / (64 - hole_nm**2)
    assert stats.kstest(inside, "uniform").pvalue > 0.01
    along = np.where(np.abs(x) > np.abs(y), y, x) / largest
    assert stats.kstest(along, "uniform", (-1, 2)).pvalue > 0.01
    sides = np.bincount(2 * (np.abs(x) > np.abs(y)) + (np.where(np.abs(x) > np.abs(y), x, y) > 0), minlength=4)
    assert stats.chisquare(sides).pvalue > 0.01


def test_a_field_that_is_no_square_has_a_frame_of_the_same_width_on_all_sides():
    wide = ["grid.size_x_nm=40", "grid.nx=64", "scatterers.max=20"]
    x, y = unseen_of(made(UNSEEN, *wide), made(*wide)).T
    assert ((np.abs(x) > 20) | (np.abs(y) > 5)).all()
    assert (np.abs(x).max(), np.abs(y).max()) == pytest.approx((23, 8), abs=0.01)
    below_or_above = (46 * 6) / (46 * 6 + 10 * 6)
    found = (np.abs(y) > 5).mean()
    assert found == pytest.approx(below_or_above, abs=4 * np.sqrt(below_or_above / x.size))


@pytest.mark.parametrize(("density", "mean"), [(0.002, 0.312), (0.05, 7.8), (2.0, 312)])
def test_the_number_of_unseen_scatterers_is_poisson_distributed_with_the_stated_density(density, mean):
    number = made(UNSEEN, f"corruptions.unseen_scatterers.density_per_nm2={density}", "scatterers.max=3").extra[
        "n_unseen"
    ]
    assert number.mean() == pytest.approx(mean, abs=4 * np.sqrt(mean / number.size))
    assert number.var() == pytest.approx(mean, rel=4 * np.sqrt((2 + 1 / mean) / number.size))


def test_unseen_scatterers_are_as_dense_as_the_others_of_their_image():
    number, clean = made(UNSEEN).extra["n_unseen"], made()
    mean = clean.n_scatterers * (16**2 - 10**2) / 10**2
    assert stats.kstest((number - mean) / np.sqrt(mean), "norm").pvalue > 1e-3
    assert np.corrcoef(number, clean.n_scatterers)[0, 1] > 0.95
    denser = made(UNSEEN, "scatterers.margin_nm=-2").extra["n_unseen"]
    assert denser.sum() / number.sum() == pytest.approx(10**2 / 6**2, rel=0.02)


def test_unseen_scatterers_are_in_the_image_and_are_not_told():
    observations, clean = made(UNSEEN), made()
    np.testing.assert_array_equal(observations.n_scatterers, clean.n_scatterers + observations.extra["n_unseen"])
    np.testing.assert_array_equal(observations.position_nm[:, :100][exists(clean)], clean.position_nm[exists(clean)])
    np.testing.assert_array_equal(observations.told[:, :100], clean.position_nm)
    assert np.isnan(observations.told[:, 100:]).all()
    for row in (0, 133, 499):
        expected = reference_image(spec_with(UNSEEN), observations, row)
        assert np.abs(observations.image[row] - expected).max() < 5e-6 * np.abs(expected).max()


@pytest.mark.parametrize(("decay_nm", "snr_db"), [(1, 8), (2, 4), (3, 2), (5, 1)])
def test_ripples_of_unseen_scatterers_are_a_noise_of_few_decibels(decay_nm, snr_db):
    paper = ["grid.ny=64", "grid.nx=64", "kernels.wavelength_nm=[0.6, 3]", "observations_per_kernel=5"]
    paper += [f"kernels.decay_nm=[{decay_nm}, {decay_nm}]", "scatterers.min=2"]
    clean = made(*paper).image
    added = made("corruptions.unseen_scatterers.reach_nm=15", *paper).image - clean
    found = 10 * np.log10(clean.var(axis=(1, 2)) / added.var(axis=(1, 2)))
    assert np.median(found) == pytest.approx(snr_db, abs=1)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["unseen_scatterers.reach_nm=0"], "'corruptions.unseen_scatterers.reach_nm': input should be greater than 0"),
        (["unseen_scatterers.reach_nm=nan"], "'corruptions.unseen_scatterers.reach_nm': input should be a finite"),
        (
            ["unseen_scatterers.reach_nm=101"],
            "unseen_scatterers.reach_nm = 101 must be above 0 and at most 100 nm, 10 times the field",
        ),
        (
            ["unseen_scatterers.reach_nm=90"],
            "unseen_scatterers adds up to 37145 scatterers to the 100 that an image may have without it, and 10000 is",
        ),
        (
            ["unseen_scatterers.reach_nm=1", "unseen_scatterers.density_per_nm2=-1"],
            "density_per_nm2': input should be greater than 0, found -1",
        ),
        (["amplitude_spread.relative_std=-0.1"], "relative_std': input should be greater than 0, found -0.1"),
        (["amplitude_spread.relative_std=3"], "relative_std': input should be less than or equal to 2, found 3"),
    ],
)
def test_scatterers_that_cannot_be_are_refused_in_one_sentence(overrides, words):
    with pytest.raises(UsageError, match="Spec 'mini'") as refused:
        spec_with(*(f"corruptions.{override}" for override in overrides))
    assert words in str(refused.value)


def test_a_reach_within_the_margin_is_refused():
    with pytest.raises(UsageError, match=r"reach_nm = 3 must be above scatterers.margin_nm = 4 and at most 100 nm"):
        spec_with(UNSEEN, "scatterers.margin_nm=4")
