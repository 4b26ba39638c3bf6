"""The forward residual: predicted kernels on the lattice of offsets against the images, beside the true kernels."""

import numpy as np
import pytest

from qpibench.evaluation.metrics import Case, find_metrics
from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.physics.superposition import kernel_image


@pytest.fixture(scope="module")
def full(mini_release):
    """The kernels of the images of the OOD test on the lattice of offsets."""
    index = mini_release.observation_kernel[mini_release.split("ood", "test")]
    columns = mini_release.kernels.parameters
    rows = {k: {name: values[k] for name, values in columns.items()} for k in np.unique(index)}
    found = {k: kernel_image(mini_release.grid.offsets, eq7, **row) for k, row in rows.items()}
    return np.array([found[k] for k in index])


def test_the_true_kernel_on_the_whole_lattice_explains_more_than_on_its_window(metrics_of, mini_release, full):
    zeros = np.zeros((len(full), *mini_release.grid.shape))
    metrics = metrics_of(mini_release, kernel=zeros, kernel_full=full)  # the kernel of the window plays no part
    assert metrics["forward_residual"].value < 0.05
    assert metrics["forward_residual"].value < metrics["truth_residual"].value < 0.2


def test_an_image_without_an_answer_has_a_residual_of_1_and_that_of_its_truth(metrics_of, mini_release, full):
    kernel = np.zeros((len(full), *mini_release.grid.shape))
    whole = metrics_of(mini_release, kernel=kernel, kernel_full=full)
    kernel[3] = np.nan
    some = metrics_of(mini_release, kernel=kernel, kernel_full=full)
    more = some["forward_residual"].value - whole["forward_residual"].value
    assert more == pytest.approx(1 / len(full), abs=0.2 / len(full))
    assert some["truth_residual"] == whole["truth_residual"]


def test_without_kernels_on_the_lattice_there_is_no_residual(metrics_of, mini_release, full):
    kernel = np.ones((len(full), *mini_release.grid.shape))
    assert not {"forward_residual", "truth_residual"} & set(metrics_of(mini_release, kernel=kernel))


def test_kernels_of_the_central_pixels_are_compared_with_whole_images():
    grid, rng = Grid(ny=12, nx=14, size_y_nm=5.5, size_x_nm=6.5), np.random.default_rng(0)
    patch, full = grid.central(10), rng.random((1, *grid.offsets.shape))
    truth, image = (np.exp(-8 * (each.x_nm**2 + each.y_nm[:, None] ** 2))[None] for each in (patch, grid))
    places = np.zeros((1, 1, 2))
    case = Case(
        grid=patch,
        image_grid=grid,
        prediction=truth,
        truth=truth,
        kernel_full=full,
        observation=image,
        position_nm=places,
    )
    residual, of_truth = (
        metric.columns[0].measure(case) for metric in find_metrics(["forward_residual", "truth_residual"])
    )
    assert residual > 1
    assert of_truth < 0.05  # the spline rings a little at the edge of the patch


def test_a_kernel_in_an_image_of_zeros_has_a_residual_of_1():
    grid = Grid(ny=8, nx=8, size_y_nm=4.0, size_x_nm=4.0)
    ones, places = np.ones((2, 8, 8)), np.array([[[0.0, 0.0]], [[np.nan, np.nan]]])
    full = np.ones((2, *grid.offsets.shape))
    case = Case(
        grid=grid, prediction=ones, truth=ones, kernel_full=full, observation=np.zeros_like(ones), position_nm=places
    )
    for metric in find_metrics(["forward_residual", "truth_residual"]):
        assert metric.columns[0].measure(case).tolist() == [1, 0]
