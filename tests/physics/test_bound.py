"""The Cramer-Rao bound of the kernel."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.physics.bound import EXPECTED_ERROR, bound_std, least_error, mean_variance
from qpibench.physics.superposition import kernel_image, superpose

FOUR_FOLD = {"fold": 4, "phi1": 0.4, "B": 3.0, "phi2": 0.3, "C": 0.2}
GRID = Grid(ny=16, nx=20, size_y_nm=8, size_x_nm=10)
PLACES = np.array([[0.3, 0.2], [-2.0, 5.1], GRID.x_nm[3:5], [np.nan, np.nan]])


def variance(parameters, position_nm, *, sigma=0.1, limit=1e4, **grids):
    columns = {name: np.array([value]) for name, value in parameters.items()}
    (found,) = mean_variance(
        GRID, position_nm[None], columns, noise_sigma=np.array([sigma]), condition_limit=limit, **grids
    )
    return found


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


@pytest.mark.parametrize("fold", [0, 2, 3, 4, 6])
def test_analytic_derivatives_give_the_variance_of_central_differences(fold):
    parameters = FOUR_FOLD | {"fold": fold} | ({} if fold else {"phi1": np.pi / 2})
    known = {"fold": fold} if fold else {"fold": fold, "phi1": np.pi / 2}
    patch = GRID.central(8)
    std = bound_std(
        lambda free: superpose(GRID, eq7, PLACES, **known, **free),
        lambda free: kernel_image(patch, eq7, **known, **free),
        {name: value for name, value in parameters.items() if name not in known},
        noise_sigma=0.1,
    )
    assert variance(parameters, PLACES, kernel_grid=patch) == pytest.approx((std**2).mean(), rel=1e-6)


def test_a_fit_by_least_squares_reaches_the_mean_variance():
    rng, names = np.random.default_rng(3), ("phi1", "B", "phi2", "C")
    true = [FOUR_FOLD[name] for name in names]

    def image(values):
        return superpose(GRID, eq7, PLACES, fold=4, **dict(zip(names, values, strict=True)))

    def kernel(values):
        return kernel_image(GRID, eq7, fold=4, **dict(zip(names, values, strict=True)))

    clean, errors = image(true), []
    for _ in range(60):
        noisy = clean + 0.02 * rng.standard_normal(GRID.shape)
        fit = least_squares(lambda values, noisy=noisy: (image(values) - noisy).ravel(), true)
        errors.append(((kernel(fit.x) - kernel(true)) ** 2).mean())
    # The standard error of the mean of 60 is 10 %.
    assert np.mean(errors) == pytest.approx(variance(FOUR_FOLD, PLACES, sigma=0.02), rel=0.25)


def test_without_noise_there_is_no_bound_and_without_scatterers_it_is_infinite():
    assert np.isnan(variance(FOUR_FOLD, PLACES, sigma=0.0))
    assert variance(FOUR_FOLD, PLACES[3:]) == np.inf


def test_an_image_that_hardly_tells_the_parameters_apart_is_ill_conditioned():
    inside = np.array([[0.0, 0.0]])
    one_pixel = FOUR_FOLD | {"C": 10.0}  # at the second pixel the kernel has decayed
    assert np.isfinite(variance(FOUR_FOLD, inside))
    assert variance(one_pixel, inside, sigma=1e-6) == np.inf
    assert np.isfinite(variance(one_pixel, inside, sigma=1e-6, limit=1e12))


def test_an_image_that_shows_only_the_tail_of_a_kernel_is_ill_conditioned():
    tail = np.array([[9.0, 8.0]])
    assert variance(FOUR_FOLD, tail, sigma=0.1) == np.inf
    assert np.isfinite(variance(FOUR_FOLD, tail, sigma=1e-5))
