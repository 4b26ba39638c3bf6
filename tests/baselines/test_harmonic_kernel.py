"""Kernels of several harmonics, held against float64 sums in NumPy and SciPy."""

import numpy as np
import pytest
from shared.harmonic_kernel import HarmonicKernel, interpolated, sharpened, sites, spline_columns
from shared.polar import Points, pixels_of
from shared.radial import spline_count, spline_values

from qpibench.grid import Grid

GRID = Grid(ny=9, nx=12, size_y_nm=4.0, size_x_nm=6.0)
SPACING = 0.3
COUNT = spline_count(5.0, SPACING)
ORDERS = (0, 1, 3, 12)


@pytest.fixture
def kernel():
    rng = np.random.default_rng(0)
    return HarmonicKernel(SPACING, ORDERS, rng.normal(size=(2 * len(ORDERS) - 1, COUNT)))


def places(count, *, seed=1):
    x, y, strength = np.random.default_rng(seed).uniform(-2, 2, (3, count))
    return Points(x, y, strength)


def pair_values(kernel, pixels, scatterers):
    """The kernel (pixel, scatterer) by its definition."""
    dx, dy = (np.subtract.outer(a, b) for a, b in ((pixels.x, scatterers.x), (pixels.y, scatterers.y)))
    theta, r = np.arctan2(dy, dx), np.hypot(dx, dy)
    harmonics = [np.ones(r.shape)]
    for m in kernel.orders[1:]:
        harmonics += [np.where(r > 0, np.cos(m * theta), 0), np.where(r > 0, np.sin(m * theta), 0)]
    splines = spline_values(r.ravel(), kernel.spacing_nm, kernel.coefficient.shape[1])
    profiles = (splines @ kernel.coefficient.T).reshape(*r.shape, -1)
    return (np.stack(harmonics, axis=-1) * profiles).sum(axis=-1)


def test_the_image_is_the_sum_over_scatterers_of_harmonics_times_splines(kernel):
    pixels, scatterers = pixels_of(GRID), places(5)
    expected = pair_values(kernel, pixels, scatterers)
    assert kernel.superposed(pixels, scatterers) == pytest.approx(expected @ scatterers.strength, abs=1e-12)
    assert kernel.pairs(pixels, scatterers).single == pytest.approx(expected, abs=1e-5)
    columns = spline_columns(pixels, scatterers, ORDERS, SPACING, COUNT)
    assert np.tensordot(columns, kernel.coefficient.T, 2) == pytest.approx(expected @ scatterers.strength, abs=1e-5)


def test_at_a_scatterer_the_kernel_is_its_angular_mean(kernel):
    odd = Grid(ny=3, nx=3, size_y_nm=1.0, size_x_nm=1.0)
    mean = HarmonicKernel(SPACING, (0,), kernel.coefficient[:1])
    assert kernel.image(odd)[1, 1] == pytest.approx(mean.image(odd)[1, 1])


@pytest.mark.parametrize("name", ["x", "y"])
def test_derivatives_by_the_places_are_difference_quotients(kernel, name):
    pixels, scatterers, step = pixels_of(GRID), places(4), 1e-6
    more, less = (scatterers._replace(**{name: getattr(scatterers, name) + sign * step}) for sign in (1, -1))
    slope = (pair_values(kernel, pixels, more) - pair_values(kernel, pixels, less)) / (2 * step) * scatterers.strength
    assert getattr(kernel.pairs(pixels, scatterers), f"by_{name}") == pytest.approx(slope, rel=1e-4, abs=1e-4)


def test_close_to_a_scatterer_the_angular_slope_is_that_of_the_stated_distance(kernel):
    at = Points(np.array([0.01]), np.zeros(1), np.ones(1))
    origin = Points(np.zeros(1), np.zeros(1), np.ones(1))
    steep, bounded = (kernel.pairs(at, origin, nearest_nm=nearest).by_y[0, 0] for nearest in (0.0, 0.1))
    assert bounded == pytest.approx(steep / 10)


def test_splines_pass_through_the_values_of_a_smooth_profile():
    distance = sites(COUNT, SPACING)
    coefficient = interpolated(np.stack([np.exp(-(distance**2)), np.cos(distance)]), SPACING)
    between = np.linspace(0, distance[-1] - 1e-9, 100)
    values = spline_values(between, SPACING, COUNT) @ coefficient.T
    assert values == pytest.approx(np.column_stack([np.exp(-(between**2)), np.cos(between)]), abs=1e-3)


def test_orders_that_do_not_ascend_from_zero_are_refused(kernel):
    with pytest.raises(ValueError, match="orders of harmonics ascend from 0"):
        HarmonicKernel(SPACING, (2, 3), kernel.coefficient[:5])
    with pytest.raises(ValueError, match="3 harmonics are expected, found 7"):
        HarmonicKernel(SPACING, (0, 3), kernel.coefficient)


def test_the_blur_of_places_anywhere_in_a_cell_is_undone():
    bump = HarmonicKernel(SPACING, (0,), interpolated(np.exp(-(sites(COUNT, SPACING) ** 2))[None], SPACING))
    offsets = np.linspace(-0.2, 0.2, 21)
    x, y = (each.ravel() for each in np.meshgrid(1.5 * offsets, offsets))
    blurred = bump.superposed(pixels_of(GRID), Points(x, y, np.full(441, 1 / 441))).reshape(GRID.shape)
    # To the blurred bump, the sharpened one is what the bump is to its average over the cell.
    left = bump.image(GRID) - blurred
    assert sharpened(bump, GRID, (0.6 / 12**0.5, 0.4 / 12**0.5)) - bump.image(GRID) == pytest.approx(
        left, abs=0.25 * np.abs(left).max()
    )
    assert np.array_equal(sharpened(bump, GRID, (0.0, 0.0)), bump.image(GRID))
