"""Superposition on a lattice and its least squares agree with dense matrices in float64."""

import numpy as np
import pytest
from shared.deconvolution import (
    LeastSquares,
    Penalty,
    envelope_penalty,
    evaluated,
    extraction,
    penalty,
    spline_response,
    superposition,
)
from shared.extractor import Observation
from shared.scatterers import Scatterers
from shared.splines import periodic_splines

from qpibench.grid import Grid

GRID = Grid(ny=7, nx=9, size_y_nm=3.0, size_x_nm=5.0)
ROW, COLUMN, WEIGHT = np.array([1.3, 4.0, -2.6]), np.array([2.7, 7.5, 4.2]), np.array([1.0, 0.5, 2.0])


@pytest.fixture
def observation():
    image = np.random.default_rng(1).normal(size=GRID.shape)
    image[2, 3] = np.nan
    return Observation(
        image=image,
        grid=GRID,
        scatterers=Scatterers(ROW, COLUMN, WEIGHT),
        kernel_grid=Grid(ny=4, nx=5, size_y_nm=1.0, size_x_nm=2.0),
    )


def dense(observation, lattice):
    """A as a matrix (pixel, coefficient): the kernel's splines at the offsets of every pixel from every scatterer."""
    ny, nx = observation.grid.shape
    matrix = np.zeros((ny, nx, *lattice))
    for row, column, weight in zip(ROW, COLUMN, WEIGHT, strict=True):
        by_row = periodic_splines(np.arange(ny) - row, lattice[0])
        by_column = periodic_splines(np.arange(nx) - column, lattice[1])
        matrix += weight * by_row[:, None, :, None] * by_column[None, :, None, :]
    matrix[~observation.seen] = 0
    return matrix.reshape(ny * nx, -1)


def second_differences(shape, grid):
    """The Laplacian of the lattice as a matrix, in units of the pixel pitch."""
    size_y, size_x = (np.eye(n) for n in shape)
    y, x = (2 * one - np.roll(one, 1, axis=0) - np.roll(one, -1, axis=0) for one in (size_y, size_x))
    ratio = grid.pitch_x_nm / grid.pitch_y_nm
    return np.kron(y, size_x) * ratio + np.kron(size_y, x) / ratio


def weights(problem):
    """The matrix of the penalty."""
    size = problem.model.spread.size
    return np.array([problem_of_penalty(problem, unit) for unit in np.eye(size, dtype=np.float32)])


def problem_of_penalty(problem, flat):
    coefficient = flat.reshape(problem.model.lattice)
    smooth = np.fft.irfft2(problem.penalty.smoothness * np.fft.rfft2(coefficient), s=coefficient.shape)
    return (smooth + problem.penalty.confinement * coefficient).ravel()


@pytest.fixture
def problem(observation):
    model = superposition(observation)
    image = np.nan_to_num(observation.image).astype(np.float32)
    return LeastSquares(model=model, image=image, penalty=penalty(GRID, model.lattice, smoothness=0.3, confinement=0.2))


def test_the_superposition_is_that_of_a_dense_matrix(observation):
    model = superposition(observation)
    matrix = dense(observation, model.lattice)
    coefficient = np.random.default_rng(2).normal(size=model.lattice)
    np.testing.assert_allclose(
        model.shown(np.fft.rfft2(coefficient)).ravel(), matrix @ coefficient.ravel(), rtol=1e-5, atol=1e-5
    )


def test_the_back_projection_is_its_transpose(observation):
    model = superposition(observation)
    image = np.random.default_rng(3).normal(size=GRID.shape)
    projected = np.fft.irfft2(model.back_projected(image), s=model.lattice)
    np.testing.assert_allclose(
        projected.ravel(), dense(observation, model.lattice).T @ image.ravel(), rtol=1e-5, atol=1e-5
    )


def test_the_smoothness_is_the_squared_laplacian_and_the_confinement_grows_with_the_distance(problem):
    lattice = problem.model.lattice
    laplacian = second_differences(lattice, GRID) / 4
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) for n in lattice)
    r = np.hypot(y[:, None] * GRID.pitch_y_nm, x * GRID.pitch_x_nm).ravel()
    expected = 0.3 * laplacian.T @ laplacian + 0.2 * np.diag((r**2 / (GRID.size_y_nm * GRID.size_x_nm)) ** 2)
    np.testing.assert_allclose(weights(problem), expected, atol=1e-5 * expected.max())


def test_conjugate_gradients_find_the_solution_of_the_dense_normal_equations(observation, problem):
    matrix = dense(observation, problem.model.lattice)
    normal = matrix.T @ matrix + weights(problem)
    expected = np.linalg.solve(normal, matrix.T @ problem.image.ravel())
    found = problem.solution(iterations=500, tolerance=1e-6)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-3 * np.abs(expected).max())
    np.testing.assert_allclose(problem.diagonal.ravel(), np.diag(normal), rtol=1e-3)


def test_the_nonnegative_solution_meets_the_conditions_of_optimality(observation, problem):
    found = problem.nonnegative_solution(
        iterations=5000, tolerance=1e-7, start=np.zeros(problem.model.lattice, np.float32)
    ).ravel()
    matrix = dense(observation, problem.model.lattice)
    right_side = matrix.T @ problem.image.ravel()
    gradient = (matrix.T @ matrix + weights(problem)) @ found - right_side
    assert found.min() == 0
    assert gradient.min() > -1e-3 * np.abs(right_side).max()
    assert np.abs(gradient[found > 1e-4 * found.max()]).max() < 1e-3 * np.abs(right_side).max()


def test_the_nonnegative_solution_does_not_diverge_where_the_curvature_starts_too_low(problem, monkeypatch):
    monkeypatch.setattr(LeastSquares, "_curvature", lambda self, diagonal: 1e-3)
    start = np.zeros(problem.model.lattice, np.float32)
    low = problem.nonnegative_solution(iterations=3000, tolerance=1e-7, start=start)
    monkeypatch.undo()
    found = problem.nonnegative_solution(iterations=3000, tolerance=1e-7, start=start)
    np.testing.assert_allclose(low, found, atol=1e-2 * found.max())


def test_an_envelope_confines_to_the_mean_square_around_the_distance():
    lattice = (30, 30)
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) for n in lattice)
    r = np.hypot(y[:, None], x)
    square = Grid(ny=16, nx=16, size_y_nm=15.0, size_x_nm=15.0)
    found = envelope_penalty(square, np.exp(-r / 8).astype(np.float32), smoothness=0.0, unexplained=2.0)
    inside = (r > 3) & (r < 14)
    assert np.abs(np.log(found.confinement[inside] / (2 * np.exp(r[inside] / 4)))).max() < 0.5
    assert not found.smoothness.any()
    assert isinstance(found, Penalty)


def test_a_spline_through_values_takes_these_values():
    values = np.random.default_rng(4).normal(size=(8, 11))
    coefficient = np.fft.irfft2(np.fft.rfft2(values) / spline_response(8, 11), s=(8, 11))
    found = evaluated(coefficient, np.arange(-3.0, 4), np.arange(-5.0, 6))
    np.testing.assert_allclose(found, np.roll(values, (3, 5), axis=(0, 1))[:7], atol=1e-5)


def test_a_kernel_is_zero_beyond_the_lattice():
    assert not evaluated(np.ones((8, 8), np.float32), np.array([9.0]), np.arange(-3.0, 3)).any()


def test_an_extraction_has_the_kernel_on_both_grids(observation):
    found = extraction(np.ones((20, 24), np.float32), observation, noise=1.0)
    assert found.kernel.shape == (4, 5)
    assert found.kernel_full.shape == (13, 17)
    assert found.diagnostics == {"noise": 1.0}


@pytest.mark.parametrize(
    ("image", "row", "sentence"),
    [(np.nan, 3.0, "no pixel that can be used"), (1.0, 900.0, "no scatterer lies in the field or near it")],
)
def test_an_observation_that_shows_no_kernel_is_refused(image, row, sentence):
    scatterers = Scatterers(np.array([row]), np.array([3.0]), np.ones(1))
    observation = Observation(image=np.full(GRID.shape, image), grid=GRID, scatterers=scatterers, kernel_grid=GRID)
    with pytest.raises(ValueError, match=sentence):
        superposition(observation)
