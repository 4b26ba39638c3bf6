"""Two species in a release: the pairs of kernels, the species of scatterers, and the images that they make."""

import numpy as np
import pytest

from qpibench.families import get_family
from qpibench.physics.superposition import kernel_image, superpose
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

ROTATED = ["species={second='rotated', angle_deg=[20, 70], share=0.4}", "kernels.folds=[2, 3, 4, 6]"]
FEW = ["kernels.count=3", "observations_per_kernel=2", "scatterers.min=2", "species.second=drawn"]
TOLD = [
    "corruptions.unseen_scatterers.reach_nm=2",
    "corruptions.missing_scatterers.share=0.2",
    "corruptions.spurious_scatterers.share=0.3",
]
SPECS = {
    "eq. 7": ("mini_species", []),
    "rotated": ("mini_species", ROTATED),
    "surface states": ("cu111_64", FEW),
    "a lattice": ("square_64", [*FEW, "species.min_contrast=0.05"]),
    "unseen": (
        "mini_species",
        ["corruptions.unseen_scatterers.reach_nm=2", "corruptions.amplitude_spread.relative_std=0.3"],
    ),
}


@pytest.fixture(scope="module")
def backend():
    return get_backend("cpu")[0]


@pytest.fixture
def made(backend):
    def made(name, overrides=(), **options):
        spec = load_spec(name, overrides=[*overrides])
        kernels = backend.kernels(spec)
        return spec, kernels, backend.observations(spec, kernels, 0, min(spec.observation_count, 100), **options)

    return made


def _parameters(kernels, row):
    return {name: values[row] for name, values in kernels.parameters.items()}


@pytest.mark.parametrize("case", SPECS)
def test_an_image_is_the_sum_of_the_superpositions_of_each_species(made, case):
    spec, kernels, seen = made(*SPECS[case])
    family = get_family(spec.kernels.family)
    amplitude = seen.extra.get("amplitude", np.ones(seen.position_nm.shape[:2]))
    for row in range(0, len(seen), 17):
        expected = sum(
            superpose(
                spec.grid, family, seen.position_nm[row][those], amplitude[row][those], **_parameters(kernels, kernel)
            )
            for species, kernel in enumerate(seen.kernel[row])
            for those in [seen.extra["species"][row] == species]
        )
        assert np.abs(seen.image[row] - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("case", SPECS)
def test_a_pair_is_two_kernels_of_one_stratum_with_enough_contrast(made, case):
    spec, kernels, seen = made(*SPECS[case])
    family = get_family(spec.kernels.family)
    stratum = kernels.parameters[family.STRATUM]
    assert len(kernels) == 2 * spec.kernels.count
    np.testing.assert_array_equal(kernels.pairs["species"], np.arange(len(kernels)) % 2)
    np.testing.assert_array_equal(stratum[::2], stratum[1::2])
    first, second = kernels.image[::2].astype(float), kernels.image[1::2].astype(float)
    norm = ((first**2).sum((1, 2)) + (second**2).sum((1, 2))) ** 0.5
    np.testing.assert_allclose(kernels.pairs["contrast"][::2], ((first - second) ** 2).sum((1, 2)) ** 0.5 / norm)
    assert (kernels.pairs["contrast"] >= spec.species.min_contrast).all()
    pair = np.arange(len(seen)) // spec.observations_per_kernel
    np.testing.assert_array_equal(seen.kernel, np.stack([2 * pair, 2 * pair + 1], axis=1))


def test_one_species_and_the_first_of_two_are_drawn_alike(made):
    without = load_spec("mini", overrides=["scatterers.min=10"])
    backend = get_backend("cpu")[0]
    alone = backend.kernels(without)
    _, kernels, seen = made("mini_species")
    np.testing.assert_array_equal(kernels.image[::2], alone.image)
    np.testing.assert_array_equal(seen.position_nm, backend.observations(without, alone, 0, 100).position_nm)


@pytest.mark.parametrize("name", ["cu111_64", "square_64"])
def test_two_species_of_one_sample_are_seen_at_the_same_energy(made, name):
    _, kernels, _ = made(name, [*FEW, "species.min_contrast=0.05"])
    own = {"delta", "alpha", "delta_2", "V"}
    for column, values in kernels.parameters.items():
        same = np.array_equal(values[::2], values[1::2], equal_nan=True)
        assert same or column in own, column
    assert not np.array_equal(kernels.image[::2], kernels.image[1::2])


def test_a_rotated_kernel_is_the_first_one_rotated(made):
    spec, kernels, _ = made("mini_species", ROTATED)
    angle = kernels.pairs["rotation"]
    assert (angle[::2] == 0).all()
    assert (np.deg2rad(20) <= angle[1::2]).all()
    assert (angle[1::2] <= np.deg2rad(70)).all()
    assert ((kernels.parameters["phi1"] >= 0) & (kernels.parameters["phi1"] < np.pi)).all()
    family, grid = get_family("eq7"), spec.grid
    for pair in range(spec.kernels.count):
        cos, sin = np.cos(angle[2 * pair + 1]), np.sin(angle[2 * pair + 1])
        x, y = grid.x_nm, grid.y_nm[:, None]
        rotated = family.reference(cos * x + sin * y, cos * y - sin * x, **_parameters(kernels, 2 * pair))
        second = kernel_image(grid, family, **_parameters(kernels, 2 * pair + 1))
        np.testing.assert_allclose(second, rotated, atol=1e-9)


def test_each_image_has_the_asked_share_of_the_second_species_and_enough_of_each(made):
    spec, _, seen = made("mini_species")
    species = seen.extra["species"]
    counts = np.stack([(species == kind).sum(1) for kind in (0, 1)], axis=1)
    np.testing.assert_array_equal(counts.sum(1), seen.n_scatterers)
    np.testing.assert_array_equal(species >= 0, ~np.isnan(seen.position_nm[..., 0]))
    assert counts.min() >= spec.species.min_each
    share = counts[:, 1] / seen.n_scatterers
    assert share.min() < 0.4
    assert share.max() > 0.6
    assert (np.abs(share - 0.5) <= 0.2 + 0.5 / seen.n_scatterers).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_may_leave_one_species_only(made, share):
    overrides = [f"species.share={share}", "species.min_each=0", "corruptions.unseen_scatterers.reach_nm=2"]
    _, _, seen = made("mini_species", overrides)
    assert set(seen.extra["species"].flat) == {-1, int(share)}


def test_told_positions_have_the_species_of_their_scatterers(made):
    _, _, seen = made("mini_species", TOLD)
    told, species = seen.extra["told_species"], seen.extra["species"]
    np.testing.assert_array_equal(told >= 0, ~np.isnan(seen.told[..., 0]))
    spurious = []
    for row in range(len(seen)):
        true = {
            tuple(place): kind for place, kind in zip(seen.position_nm[row], species[row], strict=True) if kind >= 0
        }
        for place, kind in zip(seen.told[row][told[row] >= 0], told[row], strict=False):
            if tuple(place) in true:
                assert kind == true[tuple(place)]
            else:
                spurious.append(kind)
    assert len(spurious) == seen.extra["n_spurious"].sum()
    assert 0.4 < np.mean(spurious) < 0.6


def test_told_species_follow_positions_that_move_and_cells_that_merge(made):
    alone, moved = (
        made("mini_species", [*TOLD, *more])[2] for more in ([], ["corruptions.position_error.sigma_nm=0.1"])
    )
    np.testing.assert_array_equal(moved.extra["told_species"], alone.extra["told_species"])
    merged = made("mini_species", ["corruptions.merged_pixels.cell_px=8"])[2]
    cell = np.floor((merged.position_nm + 5) / (10 / 63) + 0.5) // 8
    for row in range(0, len(merged), 9):
        first = {}
        for at, kind in zip(map(tuple, cell[row]), merged.extra["species"][row], strict=True):
            if kind >= 0:
                first.setdefault(at, kind)
        assert merged.extra["told_species"][row][: len(first)].tolist() == list(first.values())


def test_added_scatterers_do_not_change_the_species_of_the_drawn_ones(made):
    alone, more = (made("mini_species", overrides)[2].extra["species"] for overrides in ([], TOLD))
    drawn = alone >= 0
    np.testing.assert_array_equal(more[:, : alone.shape[1]][drawn], alone[drawn])


def test_the_instrument_is_the_same_for_both_species(made):
    blur = "corruptions.tip_blur.fwhm_nm=[0.3, 1.5]"
    _, sharp, _ = made("mini_species")
    _, blurred, _ = made("mini_species", [blur])
    assert not np.array_equal(sharp.image, blurred.image)
    np.testing.assert_array_equal(blurred.pairs["contrast"], sharp.pairs["contrast"])
    twins = ["species={second='rotated', angle_deg=0, min_contrast=0}", "kernels.folds=[2, 3]"]
    _, alike, _ = made("mini_species", [blur, *twins])
    np.testing.assert_array_equal(alike.image[::2], alike.image[1::2])


def test_noise_is_stated_over_the_rms_of_both_kernels(made):
    _, kernels, seen = made("mini_species", ["corruptions.white_noise.sigma_over_kernel_rms=0.5"])
    rms = (kernels.image[seen.kernel].astype(float) ** 2).mean((1, 2, 3)) ** 0.5
    np.testing.assert_allclose(seen.extra["noise_sigma"], 0.5 * rms, rtol=1e-6)
    np.testing.assert_allclose(seen.extra["noise_over_kernel_rms"], 0.5, rtol=1e-6)
