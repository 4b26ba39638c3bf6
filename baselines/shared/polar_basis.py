"""Bases of kernels in polar coordinates: angular harmonics times radial splines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from qpibench.grid import Grid
from shared.evidence import Layout
from shared.harmonic_kernel import HarmonicKernel, spline_columns
from shared.polar import Points, pixels_of
from shared.radial import DEGREE, spline_count, spline_values

Values = NDArray[np.float64]

CHUNK = 1024
"""Pixels whose columns are held at once."""

ANGLES = 24
"""Angles at which the standard deviation of the kernel is computed, in a period of its highest harmonic."""


def orders_of(fold: int, highest: int) -> tuple[int, ...]:
    """Orders of the harmonics of a fold up to the highest: its multiples, or 0 alone for total symmetry."""
    return tuple(range(0, highest + 1, fold)) if fold else (0,)


@dataclass(frozen=True, kw_only=True)
class PolarBasis:
    """Angular harmonics times radial splines: cos m (theta - axis), and sin m (theta - axis) unless mirrored.

    Attributes
    ----------
    orders
        Orders m, ascending from 0.
    spacing_nm, splines
        Knot distance and number of the cubic B-splines.
    axis
        Angle of the mirror line in rad.
    mirrored
        Whether kernels are their own mirror images, so that they have no sines.
    finest
        Largest wavenumber of kernels in rad/nm: a harmonic of order m is small closer than m / finest to the scatterer,
        and has no splines there. Infinite for kernels that are not smooth at the scatterer.
    """

    orders: tuple[int, ...]
    spacing_nm: float
    splines: int
    axis: float = 0.0
    mirrored: bool = False
    finest: float = math.inf

    @staticmethod
    def reaching(reach_nm: float, spacing_nm: float, orders: tuple[int, ...]) -> PolarBasis:
        """A basis that covers the distances from 0 to a reach."""
        return PolarBasis(orders=orders, spacing_nm=spacing_nm, splines=spline_count(reach_nm, spacing_nm))

    @property
    def reach_nm(self) -> float:
        """Distance from which on every kernel is 0."""
        return (self.splines - DEGREE) * self.spacing_nm

    @property
    def functions(self) -> tuple[int, ...]:
        """Order of every radial function: 0, then m for the cosine and m for the sine, unless mirrored."""
        return (0, *(m for m in self.orders[1:] for _ in range(1 if self.mirrored else 2)))

    @property
    def knots_nm(self) -> Values:
        """(spline,): distance of every spline's peak from the scatterer."""
        knots: Values = np.maximum(np.arange(self.splines) - 1.0, 0.0) * self.spacing_nm
        return knots

    @property
    def layout(self) -> Layout:
        """The columns of the linear model."""
        knots = self.knots_nm
        begins = [m / self.finest for m in self.functions]
        splines = tuple(np.flatnonzero(knots >= begin - 2 * self.spacing_nm) for begin in begins)
        tapers = tuple(_taper(knots[i], begin, self.spacing_nm) for i, begin in zip(splines, begins, strict=True))
        return Layout(knots, splines, tapers)

    def columns(
        self,
        pixels: Points,
        scatterers: Points,
        functions: Sequence[Values] | None = None,
        dtype: type[np.floating] = np.float32,
    ) -> Iterator[tuple[slice, NDArray[np.floating]]]:
        """Columns of the linear model, (pixel, column), for one slice of the pixels after another.

        With matrices (spline, function) for every radial function, the columns are those of these functions, summed in
        the precision of ``dtype``.
        """
        layout = self.layout
        harmonics = [2 * k - 1 for k in range(1, len(self.orders))] if self.mirrored else range(1, len(self.functions))
        # The splines of a function are the last of all, perhaps none.
        at = [(h, slice(self.splines - len(i), None)) for h, i in zip((0, *harmonics), layout.splines, strict=True)]
        seen, centres = _turned(pixels, -self.axis), _turned(scatterers, -self.axis)
        for start in range(0, pixels.size, CHUNK):
            rows = slice(start, start + CHUNK)
            some = Points(*(part[rows] for part in seen))
            every = spline_columns(some, centres, self.orders, self.spacing_nm, self.splines)
            parts = [every[:, i, h] for h, i in at]
            if functions is not None:
                parts = [part @ own.astype(dtype) for part, own in zip(parts, functions, strict=True)]
            yield rows, np.concatenate(parts, axis=1)

    def spread(self, coefficient: Values) -> Values:
        """Coefficients (..., function, spline) of columns (..., column), 0 where a function has no spline."""
        full, start = np.zeros((*coefficient.shape[:-1], len(self.functions), self.splines)), 0
        for f, i in enumerate(self.layout.splines):
            full[..., f, i] = coefficient[..., start : start + len(i)]
            start += len(i)
        return full

    def kernel(self, coefficient: Values) -> HarmonicKernel:
        """The kernel with coefficients (column,)."""
        full = self.spread(coefficient)
        table = np.zeros((2 * len(self.orders) - 1, self.splines))
        table[0] = full[0]
        for k, m in enumerate(self.orders[1:], start=1):
            c, s = math.cos(m * self.axis), math.sin(m * self.axis)
            even = full[k if self.mirrored else 2 * k - 1]
            odd = np.zeros(self.splines) if self.mirrored else full[2 * k]
            table[2 * k - 1], table[2 * k] = c * even - s * odd, s * even + c * odd
        return HarmonicKernel(self.spacing_nm, self.orders, table)

    def std(self, root: Values, grid: Grid) -> Values:
        """Standard deviation (y, x) on a grid of the kernel whose coefficients have the covariance root^T root.

        It is computed on a polar grid, which is as symmetric as the kernels, and interpolated linearly.
        """
        fold = math.gcd(*self.orders) or 1
        sector = ANGLES * max(self.orders[-1] // fold, 1)
        angular = self._angular(np.arange(sector) * 2 * np.pi / (fold * sector))
        r_nm = np.arange(self.splines, dtype=np.float64) * self.spacing_nm
        values = spline_values(r_nm, self.spacing_nm, self.splines)
        full = self.spread(root)
        spread = full.transpose(2, 0, 1).reshape(self.splines, -1)
        polar = np.empty((len(r_nm), sector))
        for row, weights in zip(polar, values, strict=True):
            some = np.flatnonzero(weights)
            of_functions = (weights[some] @ spread[some]).reshape(len(root), -1)
            covariance = of_functions.T @ of_functions
            row[:] = (angular * (covariance @ angular)).sum(axis=0)
        pixels = pixels_of(grid)
        place = np.hypot(pixels.x, pixels.y) / self.spacing_nm
        turn = np.mod(np.arctan2(pixels.y, pixels.x) * fold / (2 * np.pi), 1.0) * sector
        around = np.concatenate([polar, polar[:, :1]], axis=1)
        variance = map_coordinates(around, [place, turn], order=1, mode="nearest")
        # At the scatterer, where the angle is not defined, harmonics other than 1 are 0.
        variance[place == 0] = ((full[:, 0] @ values[0]) ** 2).sum()
        std: Values = np.sqrt(np.maximum(variance, 0)).reshape(grid.shape)
        return std

    def _angular(self, theta: Values) -> Values:
        """Values (function, angle) of the harmonics."""
        waves = [np.ones_like(theta)]
        for m in self.orders[1:]:
            waves.append(np.cos(m * (theta - self.axis)))
            if not self.mirrored:
                waves.append(np.sin(m * (theta - self.axis)))
        return np.array(waves)


def _turned(points: Points, angle: float) -> Points:
    if not angle:
        return points
    c, s = math.cos(angle), math.sin(angle)
    return Points(c * points.x - s * points.y, s * points.x + c * points.y, points.strength)


def _taper(knots_nm: Values, begin_nm: float, spacing_nm: float) -> Values:
    """Rise from 0 to 1 within a few splines around the distance at which a harmonic begins."""
    if begin_nm == 0:
        return np.ones(len(knots_nm))
    taper: Values = 1 / (1 + np.exp(np.clip((begin_nm - knots_nm) / spacing_nm, -40, 40)))
    return taper
