"""Every metric agrees with an independent implementation and with exact cases."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from qpibench.evaluation.metrics import Case, all_metrics
from qpibench.evaluation.metrics.similarity import PSNR_LIMIT_DB
from qpibench.grid import Grid

COLUMNS = {column.name: column for metric in all_metrics().values() for column in metric.columns}


def measured(name, truth, prediction):
    """The column of that name, (n,)."""
    ny, nx = truth.shape[1:]
    grid = Grid(ny=ny, nx=nx, size_y_nm=1.0, size_x_nm=1.0)
    return COLUMNS[name].measure(Case(grid=grid, truth=truth, prediction=prediction))


def minmax_by_truth(truth, image):
    return (image - truth.min()) / (truth.max() - truth.min())


def loop_mean(image, function):
    return math.fsum(function(float(value)) for value in image.ravel()) / image.size


def ssim_from_the_formula(truth, prediction, window=7):
    """Eq. 13 of Wang et al. (2004), windows cut out one by one with torch, sample covariances."""
    patches = [
        torch.tensor(x).unfold(0, window, 1).unfold(1, window, 1).reshape(-1, window**2) for x in (truth, prediction)
    ]
    t, p = patches
    c1, c2 = ((k * float(truth.max() - truth.min())) ** 2 for k in (0.01, 0.03))
    covariance = ((t - t.mean(1, keepdim=True)) * (p - p.mean(1, keepdim=True))).sum(1) / (window**2 - 1)
    numerator = (2 * t.mean(1) * p.mean(1) + c1) * (2 * covariance + c2)
    denominator = (t.mean(1) ** 2 + p.mean(1) ** 2 + c1) * (t.var(1) + p.var(1) + c2)
    return float((numerator / denominator).mean())


def rescaled_by_hand(t, p):
    scale = max(0.0, loop_mean(p * t, float) / loop_mean(p * p, float)) if p.any() else 0.0
    least = math.sqrt(loop_mean(scale * p - t, lambda d: d * d) / loop_mean(t, lambda d: d * d))
    return min(least, INDEPENDENT["rel_l2"](t, p))


INDEPENDENT = {
    "mae": lambda t, p: loop_mean(p - t, abs),
    "mse": lambda t, p: loop_mean(p - t, lambda d: d * d),
    "rmse": lambda t, p: math.sqrt(loop_mean(p - t, lambda d: d * d)),
    "mae_published": lambda t, p: 2 * loop_mean(minmax_by_truth(t, p) - minmax_by_truth(t, t), abs),
    "mse_published": lambda t, p: 4 * loop_mean(minmax_by_truth(t, p) - minmax_by_truth(t, t), lambda d: d * d),
    "rmse_published": lambda t, p: (
        2 * math.sqrt(loop_mean(minmax_by_truth(t, p) - minmax_by_truth(t, t), lambda d: d * d))
    ),
    "rel_l2": lambda t, p: float(
        torch.linalg.vector_norm(torch.tensor(p - t)) / torch.linalg.vector_norm(torch.tensor(t))
    ),
    "rel_l2_outside": lambda t, p: float(  # without a core
        torch.linalg.vector_norm(torch.tensor(p - t)) / torch.linalg.vector_norm(torch.tensor(t))
    ),
    "rel_l2_rescaled": rescaled_by_hand,  # without errors of positions
    "ssim": ssim_from_the_formula,
    "psnr": lambda t, p: 20 * math.log10(t.max() - t.min()) - 10 * math.log10(loop_mean(p - t, lambda d: d * d)),
}

ELSEWHERE = {  # columns without a short formula of truth and prediction, and the file that compares them
    **dict.fromkeys(("least_variance", "bounded_error", "ill_conditioned", "with_bound"), "test_bound_metric.py"),
    **dict.fromkeys(("q_error", "q_failed", "q_scored"), "test_q_metrics.py"),
    **dict.fromkeys(("symmetry_error", "fold_known"), "test_symmetry_metric.py"),
    "rel_l2_invariant": "test_aligned_l2.py",
    **dict.fromkeys(("covered_68", "covered_95", "energy_pixels", "nll"), "test_uncertainty.py"),
    "assignment_accuracy": "test_species_scores.py",
    **dict.fromkeys(("forward_residual", "truth_residual"), "test_forward_residual.py"),
}


def images(seed, n=3, shape=(12, 17), dtype=np.float32):
    """Smooth positive images, so that structure is there to be compared."""
    rng = np.random.default_rng(seed)
    return np.stack([correlate(rng.random(shape), np.ones((3, 3)) / 9) for _ in range(n)]).astype(dtype)


def per_image(function, truth, prediction):
    return [function(t.astype(np.float64), p.astype(np.float64)) for t, p in zip(truth, prediction, strict=True)]


@pytest.mark.parametrize("name", INDEPENDENT)
@pytest.mark.parametrize(("scale", "offset"), [(0.01, 0.0), (1.0, 0.0), (0.3, -5.0), (1e4, 1e3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_an_independent_implementation(name, scale, offset, dtype):
    truth = images(1, dtype=dtype)
    prediction = (truth + scale * images(2, dtype=dtype) + offset).astype(dtype)
    computed = measured(name, truth, prediction)
    assert computed.dtype == np.float64
    assert computed.shape == (3,)
    np.testing.assert_allclose(computed, per_image(INDEPENDENT[name], truth, prediction), rtol=1e-9)


@pytest.mark.parametrize("name", INDEPENDENT)
def test_an_oracle_is_perfect_exactly(name):
    truth = images(3)
    perfect = {"ssim": 1.0, "psnr": PSNR_LIMIT_DB}.get(name, 0.0)
    assert measured(name, truth, truth).tolist() == [perfect] * 3


def test_zeros_have_a_relative_error_of_exactly_one():
    truth = images(4, n=50)
    assert (measured("rel_l2", truth, np.zeros_like(truth)) == 1.0).all()


def test_what_lies_in_the_core_does_not_count_outside_of_it():
    truth, prediction = images(4), images(5)
    grid = Grid(ny=8, nx=11, size_y_nm=7.0, size_x_nm=10.0)  # pixels 1 nm apart
    truth, prediction = truth[:, :8, :11], prediction[:, :8, :11]
    worse = prediction.copy()
    worse[:, 3:5, 5] += 9  # 0.5 nm from the scatterer
    errors = [
        COLUMNS["rel_l2_outside"].measure(Case(grid=grid, truth=truth, prediction=each, core_nm=core))
        for each, core in [(prediction, 0.6), (worse, 0.6), (worse, 0.5)]
    ]
    np.testing.assert_array_equal(errors[0], errors[1])
    assert (errors[2] > errors[1]).all()


def test_a_constant_scores_what_arithmetic_says():
    truth = np.zeros((1, 8, 8))
    truth[:, :4] = 1.0
    constant = np.full_like(truth, 0.5)
    expected = {
        "mae": 0.5,
        "mse": 0.25,
        "rmse": 0.5,
        "mae_published": 1.0,
        "mse_published": 1.0,
        "rmse_published": 1.0,
        "rel_l2": math.sqrt(0.5),
        "psnr": 10 * math.log10(4),
    }
    assert {name: measured(name, truth, constant).item() for name in expected} == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("name", ["mae_published", "mse_published", "rmse_published", "rel_l2", "ssim", "psnr"])
def test_metrics_without_units_do_not_change_with_the_scale(name):
    truth, prediction = images(5), images(6)
    np.testing.assert_allclose(
        measured(name, 1024 * truth, 1024 * prediction), measured(name, truth, prediction), rtol=1e-12
    )


@pytest.mark.parametrize("name", ["mae_published", "mse_published", "rmse_published", "psnr"])
def test_published_convention_and_psnr_do_not_change_with_an_offset(name):
    truth, prediction = images(5, dtype=np.float64), images(6, dtype=np.float64)
    np.testing.assert_allclose(measured(name, truth + 7, prediction + 7), measured(name, truth, prediction), rtol=1e-9)


def test_small_differences_of_large_float32_values_are_not_lost():
    truth = np.full((1, 64, 64), 1e4, dtype=np.float32)
    prediction = truth.copy()
    prediction[0, 0, 0] += np.float32(2**-9)
    assert measured("mae", truth, prediction).item() == 2**-9 / 4096
    assert measured("mse", truth, prediction).item() == 2**-18 / 4096


@pytest.mark.parametrize("name", INDEPENDENT)
@pytest.mark.parametrize("level", [0.0, -2.5])
def test_a_constant_truth_gives_finite_scores(name, level):
    truth = np.full((2, 8, 8), level)
    prediction = truth + 0.1 * images(7, n=2, shape=(8, 8), dtype=np.float64)
    if name.startswith("rel_l2") and level == 0:
        assert measured(name, truth, prediction).tolist() == [math.inf, math.inf]
        assert measured(name, truth, truth).tolist() == [0.0, 0.0]
    else:
        assert np.isfinite(measured(name, truth, prediction)).all()


@pytest.mark.parametrize("name", INDEPENDENT)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_image_that_is_not_finite_spoils_its_own_score_only(name, bad):
    truth, prediction = images(8), images(9)
    clean = measured(name, truth, prediction)
    prediction[1, 5, 5] = bad
    spoilt = measured(name, truth, prediction)
    assert not np.isfinite(spoilt[1])
    assert spoilt[[0, 2]].tolist() == clean[[0, 2]].tolist()


@pytest.mark.parametrize("side", [2, 3, 4, 6])
def test_ssim_window_shrinks_with_an_image_smaller_than_it(side):
    truth, prediction = images(10, shape=(side, 9)), images(11, shape=(side, 9))
    assert measured("ssim", truth, truth).tolist() == [1.0] * 3
    computed = measured("ssim", truth, prediction)
    assert np.isfinite(computed).all()
    if side >= 3:
        window = side - 1 + side % 2
        expected = per_image(lambda t, p: ssim_from_the_formula(t, p, window), truth, prediction)
        np.testing.assert_allclose(computed, expected, rtol=1e-9)


def test_every_column_of_the_package_has_an_independent_implementation():
    for name in ELSEWHERE.values():
        assert (Path(__file__).parent / name).is_file()
    assert set(COLUMNS) == {*INDEPENDENT, *ELSEWHERE}
