"""A kernel as angular harmonics times radial splines, which can be evaluated anywhere: :class:`HarmonicKernel`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from qpibench.grid import Grid
from shared.harmonic_sums import add_splines, fill_pairs, superpose
from shared.polar import ORIGIN, Points, pixels_of
from shared.radial import DEGREE

Values = NDArray[np.float64]


class Pairs(NamedTuple):
    """An image taken apart: what each scatterer adds to each pixel, (pixel, scatterer) float32 each.

    Attributes
    ----------
    single
        The kernel at the scatterer, without its strength: the derivative of the pixel by the strength.
    by_x, by_y
        Derivatives by the place of the scatterer in nm, its strength included.
    """

    single: NDArray[np.float32]
    by_x: NDArray[np.float32]
    by_y: NDArray[np.float32]


@dataclass(frozen=True)
class HarmonicKernel:
    """The kernel K(r, theta) = sum over harmonics h of H_h(theta) sum_j c_hj B_j(r).

    The harmonics H are 1, and cos(m theta) and sin(m theta) for each other order m. At a scatterer, where the angle is
    not defined, these are 0. The kernel is 0 beyond the last knot interval of the splines.

    Attributes
    ----------
    spacing_nm
        Knot distance of the cubic B-splines B; see :func:`shared.radial.spline_values`.
    orders
        Orders of the harmonics, ascending; the first is 0.
    coefficient
        (harmonic, spline) float64, with 2 len(orders) - 1 harmonics.
    """

    spacing_nm: float
    orders: tuple[int, ...]
    coefficient: Values

    def __post_init__(self) -> None:
        if self.orders[:1] != (0,) or list(self.orders) != sorted(set(self.orders)):
            raise ValueError(f"orders of harmonics ascend from 0, found {self.orders}")
        if len(self.coefficient) != 2 * len(self.orders) - 1:
            raise ValueError(f"{2 * len(self.orders) - 1} harmonics are expected, found {len(self.coefficient)}")

    @property
    def reach_nm(self) -> float:
        """Distance from which on the kernel is 0."""
        return float((self.coefficient.shape[1] - DEGREE) * self.spacing_nm)

    @cached_property
    def _table(self) -> Values:
        return np.ascontiguousarray(self.coefficient.T, dtype=np.float64)

    @cached_property
    def _orders(self) -> NDArray[np.int64]:
        return np.array(self.orders, dtype=np.int64)

    def image(self, grid: Grid) -> Values:
        """The kernel on a grid, (y, x)."""
        return self.superposed(pixels_of(grid), ORIGIN).reshape(grid.shape)

    def superposed(self, pixels: Points, scatterers: Points) -> Values:
        """The sum (pixel,) of the kernels at all scatterers, times their strengths."""
        value = np.zeros(pixels.size)
        superpose(pixels, scatterers, self._orders, self.spacing_nm, self._table, value)
        return value

    def images(self, pixels: Points, scatterers: Points) -> NDArray[np.float32]:
        """The image of every scatterer alone, (scatterer, pixel)."""
        images = np.empty((scatterers.size, pixels.size), np.float32)
        for place, image in enumerate(images):
            image[:] = self.superposed(pixels, Points(*(part[place : place + 1] for part in scatterers)))
        return images

    def pairs(self, pixels: Points, scatterers: Points, *, nearest_nm: float = 0.0) -> Pairs:
        """The kernel and its derivatives for every pair of a pixel and a scatterer.

        Parameters
        ----------
        pixels, scatterers
            Places in nm.
        nearest_nm
            The angular part changes rapidly close to a scatterer; closer than this distance its derivative by the
            place is taken as there.
        """
        single, by_x, by_y = (np.empty((pixels.size, scatterers.size), np.float32) for _ in range(3))
        fill_pairs(
            pixels, scatterers, self._orders, self.spacing_nm, self._table, float(nearest_nm), single, by_x, by_y
        )
        return Pairs(single, by_x, by_y)


def sharpened(kernel: HarmonicKernel, grid: Grid, rounding_nm: tuple[float, float]) -> Values:
    """A kernel on a grid (y, x) without the blur of places that are rounded in x and y, to second order.

    Places anywhere in a cell have the standard deviation of its side over the root of 12. Averaged over the cell, a
    smooth function grows by a 24th of its second difference across the cell. The difference is that of neighbouring
    cells: closer, it would be that of the angular part near a scatterer.
    """
    pixels = pixels_of(grid)
    blurred = kernel.superposed(pixels, ORIGIN)
    sharp = blurred.copy()
    for std, (x, y) in zip(rounding_nm, ((1.0, 0.0), (0.0, 1.0)), strict=True):
        if std:
            side = 12**0.5 * std
            beside = (Points(np.array([sign * side * x]), np.array([sign * side * y]), np.ones(1)) for sign in (-1, 1))
            sharp -= (sum(kernel.superposed(pixels, each) for each in beside) - 2 * blurred) / 24
    return sharp.reshape(grid.shape)


def spline_columns(
    pixels: Points, scatterers: Points, orders: Sequence[int], spacing_nm: float, count: int
) -> NDArray[np.float32]:
    """Columns (pixel, spline, harmonic) of the linear model of an image: every harmonic times every radial spline.

    The image of a :class:`HarmonicKernel` is their sum, each times its coefficient [harmonic, spline].

    Parameters
    ----------
    pixels, scatterers
        Places in nm; the strengths of the scatterers count.
    orders
        Orders of the harmonics, ascending from 0.
    spacing_nm, count
        Knot distance and number of the splines.
    """
    columns = np.zeros((pixels.size, count, 2 * len(orders) - 1), np.float32)
    add_splines(pixels, scatterers, np.array(orders, dtype=np.int64), spacing_nm, columns)
    return columns


def interpolated(values: Values, spacing_nm: float) -> Values:
    """Coefficients (..., spline) of the splines through values (..., site) at the places :func:`sites` of a profile."""
    count = values.shape[-1]
    knots = np.arange(-DEGREE, count + 1.0) * spacing_nm
    spline = make_interp_spline(sites(count, spacing_nm), np.moveaxis(values, -1, 0), k=DEGREE, t=knots)
    return np.ascontiguousarray(np.moveaxis(spline.c, 0, -1))


def sites(count: int, spacing_nm: float) -> Values:
    """Distances (count,) in nm that determine ``count`` splines: the knots, and the middles of both end intervals."""
    last = count - DEGREE
    return np.array([0, 0.5, *range(1, last), last - 0.5, last]) * spacing_nm
