"""Columns of the linear model besides the kernel's, held against dense columns and direct sums."""

import numpy as np
import pytest
from shared.harmonic_kernel import HarmonicKernel, interpolated, sites
from shared.nuisance import SETS, Nuisance, of_instrument, waves_from_outside
from shared.polar import Points, pixels_of

from qpibench.grid import Grid

GRID = Grid(ny=7, nx=9, size_y_nm=4.0, size_x_nm=6.0)
PIXELS = pixels_of(GRID)
SEEN = np.flatnonzero(np.random.default_rng(0).random(PIXELS.size) > 0.3)
MASKED = Points(*(part[SEEN] for part in PIXELS))


def dense(pixels, name):
    """Columns (pixel, column) of the instrument by their definition."""
    line = np.unique(pixels.y, return_inverse=True)[1]
    columns = [np.ones(pixels.size), standard(pixels.x), standard(pixels.y), *(line[:, None] == np.unique(line)).T]
    return np.array(columns[: (0, 1, 3, len(columns))[SETS.index(name)]]).reshape(-1, pixels.size).T


def standard(values):
    return (values - values.mean()) / values.std()


@pytest.mark.parametrize("pixels", [PIXELS, MASKED], ids=["all pixels", "masked pixels"])
@pytest.mark.parametrize("name", SETS)
def test_products_are_those_of_offset_tilt_and_one_column_a_line(name, pixels):
    found, columns = of_instrument(pixels, name), dense(pixels, name)
    values = np.random.default_rng(1).normal(size=(pixels.size, 4))
    assert found.size == columns.shape[1]
    assert found.products(values) == pytest.approx(columns.T @ values)
    assert found.products(values.astype(np.float32)) == pytest.approx(columns.T @ values, abs=1e-4)
    assert found.own_products == pytest.approx(columns.T @ columns, abs=1e-9)


def test_products_of_parts_of_the_pixels_add_up():
    found = of_instrument(PIXELS, SETS[-1])
    values = np.random.default_rng(1).normal(size=(PIXELS.size, 2))
    parts = [slice(0, 20), slice(20, 50), slice(50, None)]
    total = sum(found.of_pixels(rows).products(values[rows]) for rows in parts)
    assert total == pytest.approx(found.products(values))


def test_columns_are_put_before_the_smooth_ones_of_the_instrument():
    first = Nuisance(np.random.default_rng(2).normal(size=(PIXELS.size, 2)), None, np.array([0.1, 0.2]))
    found = of_instrument(PIXELS, SETS[-1]).after(first)
    columns = np.column_stack([first.smooth, dense(PIXELS, SETS[-1])])
    assert found.own_products == pytest.approx(columns.T @ columns, abs=1e-9)
    assert found.variance == pytest.approx([0.1, 0.2, *np.ones(10)])


def test_line_columns_alone_need_no_smooth_ones():
    line = np.array([0, 0, 1, 2, 2, 2])
    only = Nuisance(np.zeros((6, 0)), line, np.ones(3))
    assert only.own_products == pytest.approx(np.diag([2.0, 1.0, 3.0]))
    assert only.products(np.arange(6.0)[:, None])[:, 0] == pytest.approx([1.0, 2.0, 12.0])


def test_waves_from_outside_are_those_of_scatterers_all_around_the_field():
    spacing, density, reach = 0.5, 0.3, 1.0
    profile = interpolated(np.exp(-((sites(9, spacing) / 1.2) ** 2)), spacing)
    kernel = HarmonicKernel(spacing, (0, 2), np.array([profile, 0.5 * profile, -0.3 * profile]))
    found = waves_from_outside([kernel, kernel], PIXELS, density, reach)
    assert found.size < 0.7 * PIXELS.size
    step = 0.1
    x, y = (each.ravel() for each in np.meshgrid(np.arange(-3.95, 4, step), np.arange(-2.95, 3, step)))
    outside = (np.abs(x) > GRID.size_x_nm / 2) | (np.abs(y) > GRID.size_y_nm / 2)
    each = kernel.pairs(PIXELS, Points(x[outside], y[outside], np.ones(outside.sum()))).single.astype(float)
    mean, covariance = density * step**2 * each.sum(axis=1), density * step**2 * each @ each.T
    assert np.outer(found.smooth[:, 0], found.smooth[:, 0]) * found.variance[0] == pytest.approx(
        np.outer(mean, mean), abs=0.03 * (mean**2).max()
    )
    waves = found.smooth[:, 1:]
    assert waves * found.variance[1:] @ waves.T == pytest.approx(covariance, abs=0.03 * covariance.max())
