"""The symmetry error is that of rotated images, and small for true kernels."""

import numpy as np
import pytest
from scipy.ndimage import rotate

from qpibench.evaluation.metrics import Case
from qpibench.evaluation.metrics.symmetry import fold_known, symmetry_error
from qpibench.grid import Grid
from qpibench.specs.load import load_spec
from qpibench.synthesis.cpu import CpuBackend

GRID = Grid(ny=65, nx=65, size_y_nm=10.0, size_x_nm=10.0)
X, Y = np.meshgrid(GRID.x_nm, GRID.y_nm)


def error(prediction, fold, *, core_nm=0.0, grid=GRID):
    prediction = np.array(prediction, dtype=float)
    return symmetry_error(
        Case(grid=grid, prediction=prediction, fold=np.broadcast_to(fold, len(prediction)), core_nm=core_nm)
    )


@pytest.mark.parametrize("fold", [0, 2, 3, 4, 6])
def test_the_error_is_that_of_the_mean_of_rotated_images(fold):
    image = np.exp(-(((X - 1) / 1.5) ** 2) - ((Y + 0.7) / 2) ** 2) + 0.3
    turns = fold or 72
    mean = np.mean(
        [rotate(image, 360 * turn / turns, reshape=False, order=3, mode="nearest") for turn in range(turns)], 0
    )
    radius = np.hypot(X, Y)
    disc = (radius <= 5) & (radius >= 6 * GRID.pitch_x_nm * fold / (2 * np.pi))
    expected = np.sqrt(((image - mean)[disc] ** 2).sum() / (image[disc] ** 2).sum())
    assert error([image], fold)[0] == pytest.approx(expected, rel=0.02)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("ag111_64", "hexagonal_64")]


@pytest.mark.parametrize("name", ["paper", *SLOW])
def test_true_kernels_are_symmetric_up_to_their_interpolation(name):
    spec = load_spec(name)
    kernels = CpuBackend().kernels(spec, count=30)
    core_nm = 0.0 if name == "paper" else 1.0
    found = error(kernels.image, kernels.parameters["fold"], grid=spec.grid, core_nm=core_nm)
    assert found.max() < 0.015


def test_the_core_does_not_count():
    spike = np.where(np.hypot(X, Y) < 0.9, X, 0) + np.cos(np.hypot(X, Y))
    assert error([spike], 2)[0] > 0.05
    assert error([spike], 2, core_nm=1.2)[0] < 0.01


def test_a_constant_is_symmetric_so_the_metric_cannot_rank():
    assert error([np.ones(GRID.shape), np.zeros(GRID.shape)], 6) == pytest.approx([0, 0], abs=1e-12)


def test_noise_is_as_asymmetric_as_its_share_outside_of_the_mean():
    noise = np.random.default_rng(0).standard_normal((20, *GRID.shape))
    for fold in (2, 3, 4, 6):
        assert error(noise, fold).mean() == pytest.approx(np.sqrt(1 - 1 / fold), rel=0.02)


def test_the_error_does_not_depend_on_the_strength_and_nan_spoils_its_own_image():
    image = 1 + X + 0 * Y
    found = error([image, 1e-200 * image, np.where(X > 4.9, np.nan, image)], 2)
    assert found[0] == pytest.approx(found[1])
    assert np.isnan(found[2])


def test_images_of_unknown_symmetry_do_not_count():
    case = Case(grid=GRID, prediction=np.array([X, X]), fold=np.array([-1, 2]))
    assert fold_known(case).tolist() == [0, 1]
    assert symmetry_error(case)[0] == 0
