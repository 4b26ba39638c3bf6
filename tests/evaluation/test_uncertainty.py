"""Coverage and likelihood of stated standard deviations."""

import numpy as np
import pytest

from qpibench.evaluation.metrics.uncertainty import LEAST_STD, covered, energy_pixels
from qpibench.grid import Grid

GRID = Grid(ny=24, nx=20, size_y_nm=12, size_x_nm=10)
HALF_LOG = 0.5 * np.log(2 * np.pi)


@pytest.fixture
def truth(mini_release):
    """The true kernels of the OOD test."""
    return mini_release.kernels.image[mini_release.observation_kernel[mini_release.split("ood", "test")]].astype(float)


def rms_of(truth):
    return np.sqrt((truth**2).mean(axis=(1, 2), keepdims=True))


def test_calibrated_deviations_cover_their_levels_and_have_the_entropy_of_their_noise(metrics_of, mini_release, truth):
    rng = np.random.default_rng(0)
    std = rms_of(truth) * rng.uniform(0.1, 0.2, truth.shape)
    metrics = metrics_of(mini_release, kernel=truth + std * rng.standard_normal(truth.shape), std=std)
    assert metrics["coverage_68"].value == pytest.approx(0.68, abs=0.01)
    assert metrics["coverage_95"].value == pytest.approx(0.95, abs=0.01)
    entropy = np.log(std / rms_of(truth)).mean() + HALF_LOG + 0.5
    assert metrics["nll"].value == pytest.approx(entropy, abs=0.02)


@pytest.mark.parametrize("factor", [0.3, 3])
def test_other_deviations_are_less_likely_than_calibrated_ones(metrics_of, mini_release, truth, factor):
    rng = np.random.default_rng(0)
    std = 0.1 * rms_of(truth) * np.ones_like(truth)
    kernel = truth + std * rng.standard_normal(truth.shape)
    right, wrong = (metrics_of(mini_release, kernel=kernel, std=f * std)["nll"].value for f in (1, factor))
    assert wrong > right + 0.5


def test_an_image_without_an_answer_is_not_covered(metrics_of, mini_release, truth):
    kernel, std = truth.copy(), np.ones_like(truth)
    kernel[0] = np.nan
    counted = energy_pixels(truth, mini_release.grid).sum(axis=(1, 2))
    metrics = metrics_of(mini_release, kernel=kernel, std=std)
    assert metrics["coverage_95"].value == pytest.approx(1 - counted[0] / counted.sum(), abs=1e-3)


def test_deviations_of_0_count_as_the_least_one(metrics_of, mini_release, truth):
    metrics = metrics_of(mini_release, kernel=truth, std=np.zeros_like(truth))
    assert metrics["nll"].value == pytest.approx(np.log(LEAST_STD) + HALF_LOG)
    assert metrics["coverage_68"].value == 1


def test_without_stated_deviations_there_is_no_coverage(metrics_of, mini_release, truth):
    assert not {"coverage_68", "coverage_95", "nll"} & set(metrics_of(mini_release, kernel=truth))


def test_a_deviation_that_is_not_finite_covers_nothing():
    assert not covered(np.zeros((1, 2, 2)), np.full((1, 2, 2), np.nan), 0.95).any()


def test_the_counted_pixels_hold_99_percent_of_the_energy_in_the_least_circle():
    r = np.hypot(GRID.x_nm, GRID.y_nm[:, None])
    truth = np.array([np.cos(3 * r) * np.exp(-r * r / decay**2) for decay in (0.8, 2.0, 50.0)])
    counted = energy_pixels(truth, GRID)
    share = (truth**2 * counted).sum(axis=(1, 2)) / (truth**2).sum(axis=(1, 2))
    assert (share >= 0.99).all()
    assert all(r[inside].max() < r[~inside].min() for inside in counted if not inside.all())
    edge = [r[inside].max() for inside in counted]
    smaller = counted & (r < np.array(edge)[:, None, None] * (1 - 1e-9))
    assert ((truth**2 * smaller).sum(axis=(1, 2)) / (truth**2).sum(axis=(1, 2)) < 0.99).all()
