"""What a model is told of the scatterers: position errors, missing and spurious scatterers, merged pixels."""

import numba as nb
import numpy as np
import pytest
from scipy import stats

from qpibench.arithmetic.normals import reference_normal_pair
from qpibench.arithmetic.philox import words
from qpibench.arithmetic.streams import stream_key
from qpibench.corruptions import merged_pixels
from qpibench.errors import UsageError
from qpibench.physics.activation import MAP_MODES, activation_map
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

MANY = ["kernels.count=20", "observations_per_kernel=25", "grid.ny=16", "grid.nx=16", "kernels.wavelength_nm=[3, 6]"]
ERROR, MISSING, SPURIOUS, MERGED = (
    f"corruptions.{setting}"
    for setting in (
        "position_error.sigma_nm=0.2",
        "missing_scatterers.share=0.15",
        "spurious_scatterers.share=0.25",
        "merged_pixels.cell_px=1",
    )
)


def spec_with(*overrides):
    return load_spec("mini", overrides=[*MANY, *overrides])


def made(*overrides):
    backend, spec = get_backend("cpu")[0], spec_with(*overrides)
    return backend.observations(spec, backend.kernels(spec), 0, spec.observation_count)


def rows(position):
    """The positions of each observation without padding."""
    return [each[~np.isnan(each[:, 0])] for each in position]


def as_set(positions):
    return set(map(tuple, positions.tolist()))


@nb.njit
def _words(key, image, kernel, draws):
    drawn = np.empty((draws, 4), np.uint32)
    for draw in range(draws):
        drawn[draw] = words(key, draw, image, kernel)
    return drawn


def test_told_positions_are_the_true_ones_and_normal_errors():
    observations = made(ERROR)
    error = np.stack([observations.extra[f"position_error_{axis}_nm"] for axis in "xy"], axis=-1)
    np.testing.assert_array_equal(observations.told, observations.position_nm + error)
    drawn = error[~np.isnan(error)] / 0.2
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert drawn.std() == pytest.approx(1, abs=4 / np.sqrt(2 * drawn.size))
    x, y = error[~np.isnan(error).any(axis=-1)].T / 0.2
    for one, other in [(x, y), (x[1:], x[:-1]), (x[1:], y[:-1])]:
        assert abs((one * other).mean()) < 4 / np.sqrt(one.size)


def test_position_errors_are_the_normal_numbers_of_their_stream():
    observations, spec = made(ERROR), spec_with(ERROR)
    for row in (0, 133, 499):
        drawn = _words(stream_key("benchmark", spec.seed, "position error"), row % 25, row // 25, 50)
        expected = 0.2 * reference_normal_pair(drawn.reshape(-1, 2))[: observations.n_scatterers[row]]
        for axis, name in enumerate("xy"):
            error = observations.extra[f"position_error_{name}_nm"][row]
            np.testing.assert_allclose(error[~np.isnan(error)], expected[:, axis], atol=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.15, 0.5, 0.99])
def test_the_stated_share_of_the_scatterers_is_missing_and_one_is_always_told(share):
    observations = made(f"corruptions.missing_scatterers.share={share}")
    n, missing = observations.n_scatterers, observations.extra["n_missing"]
    expected = np.minimum(np.maximum(np.floor(share * n + 0.5), n >= 10), n - 1)
    np.testing.assert_array_equal(missing, expected)
    assert n.min() < 3
    np.testing.assert_array_equal(observations.extra["is_missing"].sum(axis=1), missing)
    for told, true, is_missing in zip(
        rows(observations.told), observations.position_nm, observations.extra["is_missing"], strict=True
    ):
        np.testing.assert_array_equal(told, true[~np.isnan(true[:, 0]) & (is_missing == 0)])


def test_every_scatterer_is_equally_likely_to_be_missing():
    twenty = ["scatterers.count=20", "observations_per_kernel=200"]
    times = made("corruptions.missing_scatterers.share=0.3", *twenty).extra["is_missing"].sum(axis=0)
    assert times.sum() == 6 * 4000
    # The numbers of an image sum to 6, so the statistic is that of chi^2 over 1 - 6/20.
    assert stats.chi2.sf(((times - 1200) ** 2 / 1200).sum() / 0.7, 19) > 0.01


def test_a_larger_share_leaves_out_the_same_scatterers_and_more():
    few, many = (made(f"corruptions.missing_scatterers.share={share}").extra["is_missing"] for share in (0.1, 0.4))
    assert (many >= few).all()
    assert many.sum() > few.sum()


def test_the_stated_share_of_the_told_positions_is_spurious_and_uniform_in_the_field():
    observations, n = made(SPURIOUS), made().n_scatterers
    np.testing.assert_array_equal(observations.extra["n_spurious"], np.maximum(np.floor(0.25 * n + 0.5), n >= 10))
    invented = []
    for told, true in zip(rows(observations.told), rows(observations.position_nm), strict=True):
        assert as_set(true) < as_set(told) or len(true) < 2
        invented += as_set(told) - as_set(true)
    assert len(invented) == observations.extra["n_spurious"].sum()
    for coordinate in np.transpose(invented):
        assert stats.kstest(coordinate, "uniform", (-5, 10)).pvalue > 0.01


def test_a_spurious_position_cannot_be_recognised_by_its_place():
    twenty = ["scatterers.count=20", "observations_per_kernel=100"]
    observations = made(SPURIOUS, *twenty)
    is_true = (observations.told[:, :, None] == observations.position_nm[:, None]).all(axis=-1).any(axis=-1)
    spurious = (~is_true).sum(axis=0)
    assert spurious.sum() == 5 * 2000
    assert stats.chi2.sf(((spurious - 400) ** 2 / 400).sum() / 0.8, 24) > 0.01


@pytest.mark.parametrize("cell_px", [1, 2, 8])
@pytest.mark.parametrize("shape", [["grid.nx=16"], ["grid.nx=40", "grid.size_x_nm=23.7"]])
def test_positions_are_told_as_cells_of_the_raster_each_once(cell_px, shape):
    spec = spec_with(*shape)
    observations = made(f"corruptions.merged_pixels.cell_px={cell_px}", *shape)
    assert observations.extra["n_merged"].sum() > 100
    assert not observations.extra["n_off_raster"].any()
    for told, true, merged in zip(
        rows(observations.told), rows(observations.position_nm), observations.extra["n_merged"], strict=True
    ):
        np.testing.assert_allclose(told, merged_pixels.reference(spec.grid, true, cell_px), atol=1e-12)
        assert len(told) == len(true) - merged
        half = np.array([spec.grid.pitch_x_nm, spec.grid.pitch_y_nm]) * cell_px / 2 + 1e-9
        assert (np.abs(told[:, None] - true) <= half).all(axis=-1).any(axis=0).all()


def test_maps_mark_the_pixels_that_are_told():
    observations, grid = made(MERGED), spec_with().grid
    for mode in MAP_MODES:
        marked = activation_map(grid, observations.told, mode=mode)
        np.testing.assert_array_equal(marked.sum(axis=(1, 2)), [len(told) for told in rows(observations.told)])
        for one, told in zip(marked, rows(observations.told), strict=True):
            y, x = np.nonzero(one == 1)
            assert as_set(told) == as_set(np.stack([grid.x_nm[x], grid.y_nm[y]], axis=1))


def test_scatterers_outside_the_raster_are_not_told():
    margin = "scatterers.margin_nm=2"
    observations, grid = made(MERGED, margin), spec_with().grid
    outside = (np.abs(made(margin).position_nm) >= 5 + grid.pitch_x_nm / 2).any(axis=-1)
    np.testing.assert_array_equal(observations.extra["n_off_raster"], outside.sum(axis=1))
    assert np.nanmax(np.abs(observations.told)) == pytest.approx(5)


def test_the_same_scatterers_are_missing_and_the_same_are_spurious_whatever_else_is_done():
    clean, is_missing, spurious, both = made(), made(MISSING), made(SPURIOUS), made(SPURIOUS, MISSING)
    np.testing.assert_array_equal(both.extra["is_missing"][:, :100], is_missing.extra["is_missing"])
    np.testing.assert_array_equal(both.extra["n_spurious"], spurious.extra["n_spurious"])
    kept, invented, true, told = (
        map(as_set, rows(each)) for each in (is_missing.told, spurious.told, clean.told, both.told)
    )
    for row in zip(kept, invented, true, told, strict=True):
        assert row[3] == row[0] | (row[1] - row[2])


def test_a_scatterer_has_the_same_position_error_whatever_else_is_done():
    clean, alone, together = made(), made(ERROR), made(ERROR, SPURIOUS, MISSING)
    x, y = (together.extra[f"position_error_{axis}_nm"] for axis in "xy")
    np.testing.assert_array_equal(np.isnan(x), np.isnan(y))
    kept = ~np.isnan(clean.position_nm[..., 0]) & (together.extra["is_missing"][:, :100] == 0)
    np.testing.assert_array_equal(x[:, :100][kept], alone.extra["position_error_x_nm"][kept])
    np.testing.assert_array_equal(y[:, :100][kept], alone.extra["position_error_y_nm"][kept])
    assert (np.isfinite(x).sum(axis=1) == kept.sum(axis=1) + together.extra["n_spurious"]).all()
    for told, moved, mask in zip(rows(together.told), alone.told, kept, strict=True):
        assert as_set(moved[mask]) <= as_set(told)


def test_what_is_merged_is_what_the_others_made():
    before, after = made(ERROR, SPURIOUS, MISSING), made(MERGED, ERROR, SPURIOUS, MISSING)
    grid = spec_with().grid
    assert after.extra["n_off_raster"].any()
    for told, expected in zip(rows(after.told), rows(before.told), strict=True):
        np.testing.assert_allclose(told, merged_pixels.reference(grid, expected, 1), atol=1e-12)
    numbers = [len(told) for told in rows(after.told)]
    left_out = after.extra["n_merged"] + after.extra["n_off_raster"]
    np.testing.assert_array_equal(np.add(numbers, left_out), [len(told) for told in rows(before.told)])


def test_unseen_scatterers_are_neither_missing_nor_moved_nor_merged():
    told, unseen = [ERROR, SPURIOUS, MISSING, MERGED], "corruptions.unseen_scatterers.reach_nm=3"
    without, observations = made(*told), made(*told, unseen)
    places = without.told.shape[1]
    np.testing.assert_array_equal(observations.told[:, :places], without.told)
    assert np.isnan(observations.told[:, places:]).all()
    for name, values in without.extra.items():
        found = observations.extra[name]
        np.testing.assert_array_equal(found[:, :places] if found.ndim == 2 else found, values)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("position_error.sigma_nm=0", "sigma_nm': input should be greater than 0, found 0"),
        ("position_error.sigma_nm=11", "position_error.sigma_nm = 11 must be above 0 and at most 10 nm, the size of"),
        ("position_error.sigma_nm=inf", "sigma_nm': input should be a finite number"),
        ("missing_scatterers.share=1", "missing_scatterers.share': input should be less than 1, found 1"),
        ("missing_scatterers.share=-0.1", "missing_scatterers.share': input should be greater than 0, found -0.1"),
        ("spurious_scatterers.share=1.5", "share': input should be less than or equal to 1, found 1.5"),
        ("merged_pixels.cell_px=3", "merged_pixels.cell_px = 3 must divide the 16 x 16 pixels of the grid: choose one"),
        ("merged_pixels.cell_px=0", "cell_px': input should be greater than or equal to 1, found 0"),
        ("merged_pixels.cell_px=1.5", "cell_px': input should be a valid integer"),
        ("merged_pixels={}", "'corruptions.merged_pixels.cell_px': field required"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_sentence(override, words):
    with pytest.raises(UsageError, match="Spec 'mini'") as refused:
        spec_with(f"corruptions.{override}")
    assert words in str(refused.value)
