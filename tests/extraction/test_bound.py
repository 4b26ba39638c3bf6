"""The Cramer-Rao bound of the kernel."""

import numpy as np
import pytest

from benchmarks.bound import EXPECTED_ERROR, bound_std, least_error
from qpibench.grid import Grid

FOUR_FOLD = {"fold": 4, "phi1": 0.4, "B": 3.0, "phi2": 0.3, "C": 0.2}


def test_of_a_straight_line_it_is_that_of_least_squares():
    x = np.linspace(-1, 2, 50)

    def line(p):
        return p["a"] + p["b"] * x

    std = bound_std(line, line, {"a": 3.0, "b": -2.0}, noise_sigma=0.5)
    spread = ((x - x.mean()) ** 2).sum()
    assert std == pytest.approx(0.5 * np.sqrt(1 / 50 + (x - x.mean()) ** 2 / spread))


def test_a_fit_of_a_line_reaches_it():
    x, rng = np.linspace(0, 1, 20), np.random.default_rng(1)
    std = bound_std(lambda p: p["b"] * x, lambda p: p["b"] * x, {"b": 1.0}, noise_sigma=0.3)
    slopes = (x + 0.3 * rng.standard_normal((20_000, 20))) @ x / (x @ x)
    assert np.abs(slopes - 1).mean() * x.mean() == pytest.approx(EXPECTED_ERROR * std.mean(), rel=0.02)


def test_it_grows_with_the_noise_and_falls_with_the_scatterers():
    grid = Grid(ny=32, nx=32, size_y_nm=10, size_x_nm=10)
    one, two = np.array([[0.3, 0.2]]), np.array([[0.3, 0.2], [100.0, 0.2]])
    least = least_error(grid, one, FOUR_FOLD, noise_sigma=0.1)
    assert least_error(grid, one, FOUR_FOLD, noise_sigma=0.2) == pytest.approx(2 * least)
    assert least_error(grid, two, FOUR_FOLD, noise_sigma=0.1) == pytest.approx(least)  # the second is far away
    assert least_error(grid, np.array([[0.3, 0.2], [0.3, 0.2]]), FOUR_FOLD, noise_sigma=0.1) == pytest.approx(least / 2)


def test_total_symmetry_has_no_angle_to_estimate():
    grid = Grid(ny=16, nx=16, size_y_nm=10, size_x_nm=10)
    total = FOUR_FOLD | {"fold": 0, "phi1": np.pi / 2}
    assert 0 < least_error(grid, np.array([[0.3, 0.2]]), total, noise_sigma=0.1) < 1
