"""The Wiener filter deconvolves in Fourier space, and filters more where there is more noise."""

import numpy as np
import pytest
from multi_atom import Model as MultiAtom
from shared.extractor import Observation
from shared.scatterers import Scatterers
from wiener import Model

from qpibench.grid import Grid

GRID = Grid(ny=40, nx=48, size_y_nm=3.9, size_x_nm=4.7)


def kernel_at(y, x):
    return np.exp(-(x**2 + y**2) / 12) * np.cos(1.1 * np.hypot(x, y) + 0.2)


KERNEL = kernel_at(np.arange(40)[:, None] - 19.5, np.arange(48) - 23.5)


def observed(noise=0.0, count=15, scale=1.0):
    rng = np.random.default_rng(8)
    row, column = rng.uniform(0, 39, count), rng.uniform(0, 47, count)
    image = sum(kernel_at(np.arange(40)[:, None] - r, np.arange(48) - c) for r, c in zip(row, column, strict=True))
    image = scale * (image + noise * image.std() * rng.normal(size=image.shape))
    return Observation(image=image, grid=GRID, scatterers=Scatterers(row, column, np.ones(count)), kernel_grid=GRID)


def error(found):
    return np.linalg.norm(found.kernel - KERNEL) / np.linalg.norm(KERNEL)


def test_a_short_kernel_is_found_better_than_by_the_phase_sum():
    observation = observed()
    assert error(Model().extract(observation)) < 0.4 < error(MultiAtom().extract(observation))


def test_without_noise_and_edges_the_division_is_exact_up_to_what_the_pixels_resolve():
    rng = np.random.default_rng(9)
    row, column = rng.uniform(12, 27, 5), rng.uniform(12, 35, 5)
    image = sum(kernel_at(np.arange(40)[:, None] - r, np.arange(48) - c) for r, c in zip(row, column, strict=True))
    inside = Observation(image=image, grid=GRID, scatterers=Scatterers(row, column, np.ones(5)), kernel_grid=GRID)
    assert error(Model(edge_error=1e-4).extract(inside)) < 0.02


def test_noise_is_filtered_and_its_level_found():
    clean, noisy = (Model().extract(observed(noise)) for noise in (0.0, 1.0))
    signal = observed().image.std()
    assert noisy.diagnostics["noise"] == pytest.approx(signal, rel=0.1)
    assert error(noisy) < 0.6
    assert np.linalg.norm(noisy.kernel) < 1.05 * np.linalg.norm(clean.kernel)


def test_an_image_a_million_times_as_bright_has_such_a_kernel():
    bright, one = Model().extract(observed(0.1, scale=1e6)), Model().extract(observed(0.1))
    np.testing.assert_allclose(bright.kernel, 1e6 * one.kernel, rtol=1e-3, atol=1.0)


def test_pixels_that_are_nan_are_filled():
    observation = observed()
    observation.image[5, 7:12] = np.nan
    assert error(Model().extract(observation)) < 0.4
