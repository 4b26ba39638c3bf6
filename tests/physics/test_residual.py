"""The forward residual: images against the superposition of their kernel."""

import numpy as np
import pytest

from qpibench.errors import UsageError
from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.physics.residual import forward_residual
from qpibench.physics.superposition import kernel_image, superpose
from qpibench.specs import load_spec
from qpibench.synthesis.cpu import CpuBackend

GRID = Grid(ny=40, nx=48, size_y_nm=10, size_x_nm=12)
SHORT = {"fold": 0, "phi1": np.pi / 2, "B": 2.0, "phi2": 0.0, "C": 0.6}


@pytest.fixture(scope="module")
def kernel():
    return kernel_image(GRID, eq7, **SHORT)


def images(*counts):
    rng = np.random.default_rng(1)
    position_nm = np.full((len(counts), max(counts), 2), np.nan)
    for row, count in zip(position_nm, counts, strict=True):
        row[:count] = rng.uniform(-5, 5, (count, 2))
    return np.array([superpose(GRID, eq7, xy, **SHORT) for xy in position_nm]), position_nm


def test_images_of_the_kernel_leave_almost_nothing(kernel):
    assert forward_residual(GRID, kernel, *images(1, 4, 30)).max() < 0.02


def test_the_residual_is_the_norm_of_what_is_left_over_the_norm_of_the_image(kernel):
    image, position_nm = images(1, 4, 30)
    np.testing.assert_allclose(forward_residual(GRID, 3 * kernel, image, position_nm), 2, atol=0.06)
    np.testing.assert_array_equal(forward_residual(GRID, 0 * kernel, image, position_nm), 1)


def test_scatterers_far_outside_the_field_count_as_far_as_the_kernel_reaches(kernel):
    position_nm = np.array([[[6.5, -5.2]], [[-7.0, 4.0]], [[5.9, 5.6]]])
    image = np.array([superpose(GRID, eq7, xy, **SHORT) for xy in position_nm])
    assert forward_residual(GRID, kernel, image, position_nm).max() < 0.02
    position_nm = np.full((1, 1, 2), 1e6)
    assert forward_residual(GRID, kernel, image[:1], position_nm).tolist() == [1.0]


@pytest.mark.parametrize("odd", [0, 1])
def test_the_lattice_of_offsets_has_the_part_of_a_long_kernel_that_its_window_lacks(odd):
    long, grid = SHORT | {"C": 0.02}, Grid(ny=40 + odd, nx=48 + odd, size_y_nm=10, size_x_nm=12)
    position_nm = np.array([[[-5.5, 4.0], [1.3, -4.7], [np.nan, np.nan]], [[7.0, 0.1], [-0.2, 5.5], [2.0, 2.1]]])
    image = np.array([superpose(grid, eq7, xy, **long) for xy in position_nm])
    window, whole = (
        forward_residual(grid, kernel_image(each, eq7, **long), image, position_nm, kernel_grid=each)
        for each in (grid, grid.offsets)
    )
    assert whole.max() < 0.02
    assert window.min() > 0.1


def test_a_kernel_may_be_known_on_the_central_pixels(kernel):
    patch, (image, position_nm) = GRID.central(36), images(1, 4, 30)
    found = forward_residual(GRID, kernel[2:-2, 6:-6], image, position_nm, kernel_grid=patch)
    assert found.max() < 0.02


def test_images_of_zeros_have_a_residual(kernel):
    position_nm = np.array([[[0.0, 0.0]], [[np.nan, np.nan]]])
    assert forward_residual(GRID, kernel, np.zeros((2, *GRID.shape)), position_nm).tolist() == [np.inf, 0]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_smallest_grids_are_compared(n):
    grid = Grid(ny=n, nx=n + 1, size_y_nm=1, size_x_nm=1)
    kernel = np.random.default_rng(0).random(grid.shape)
    np.testing.assert_allclose(forward_residual(grid, kernel, kernel[None], np.zeros((1, 1, 2))), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel": np.zeros((48, 40))}, r"kernel must have the shape \(40, 48\), found \(48, 40\)"),
        ({"image": np.zeros(GRID.shape)}, r"image must have the shape \(image, 40, 48\), found \(40, 48\)"),
        (
            {"position_nm": np.zeros((1, 5, 2))},
            r"position_nm must have the shape \(2, scatterer, 2\), found \(1, 5, 2\)",
        ),
    ],
)
def test_arrays_of_another_shape_are_refused(kernel, change, words):
    arrays = {"kernel": kernel, "image": np.zeros((2, *GRID.shape)), "position_nm": np.zeros((2, 1, 2))}
    with pytest.raises(UsageError, match=words):
        forward_residual(GRID, **{**arrays, **change})


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"position_nm": np.zeros((1, 5, 2))}, r"position_nm must have the shape \(scatterer, 2\), found \(1, 5, 2\)"),
        ({"position_nm": np.zeros((5, 3))}, r"found \(5, 3\)"),
        (
            {"position_nm": np.zeros((5, 2)), "amplitude": np.ones(4)},
            r"amplitude must have the shape \(5,\), found \(4,\)",
        ),
    ],
)
def test_scatterers_of_another_shape_are_not_superposed(arrays, words):
    with pytest.raises(UsageError, match=words):
        superpose(GRID, eq7, **arrays, **SHORT)


def test_multiple_scattering_leaves_a_residual_of_the_true_kernel():
    residual = {}
    for superposition in ("linear", "multiple"):
        spec = load_spec("ag111_64_multiple", overrides=[f"scatterers.superposition={superposition}"])
        kernels = CpuBackend().kernels(spec, count=1)
        seen = CpuBackend().observations(spec, kernels, 0, 2)
        residual[superposition] = forward_residual(spec.grid, kernels.image[0], seen.image, seen.position_nm)
    assert (residual["multiple"] > 1.5 * residual["linear"]).all()
