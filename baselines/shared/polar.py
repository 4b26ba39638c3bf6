"""The linear model of an image in polar coordinates: angular harmonics times radial functions, at all scatterers.

A kernel of n-fold symmetry that separates has the form

    K(r, theta) = f(r) (1 - cos(n theta + phase)) / 2,    f(r) for total symmetry (n = 0),

with the radial profile f = sum_j c_j B_j(r). At r = 0, where the angle is not defined, the angular factor is its mean.
An image is the sum over its scatterers of K, so it is linear in the products of c with 1, cos(phase) and sin(phase).
:func:`quadratic_form` reduces an image to the sums that least squares needs. :func:`superposed` computes the image of
one separable kernel, and :func:`linearise` its derivatives by everything it depends on, the positions included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from shared.radial import RadialBasis
from shared.superposition import add_harmonics, add_kernels, fill_derivatives

CHUNK = 512
"""Pixels whose columns are held at once."""

FAINTEST = 0.01
"""Root mean square of an image, over the mean profile's peak, below which its rounding does not become smaller."""

LANES = 16
"""Rows of radial functions are padded to a multiple of the numbers that a processor adds at once."""


class Points(NamedTuple):
    """Places in nm, with a strength each: x, y and strength, (point,) float64."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    strength: NDArray[np.float64]

    @property
    def size(self) -> int:
        """Number of places."""
        return len(self.x)


ORIGIN = Points(np.zeros(1), np.zeros(1), np.ones(1))
"""A single scatterer at the origin, whose image is the kernel."""


class Symmetry(NamedTuple):
    """Angular factor of a kernel: ``fold`` n, 0 for total symmetry, and ``phase`` in rad."""

    fold: int
    phase: float

    @property
    def weights(self) -> NDArray[np.float64]:
        """Coefficients of the harmonics 1, cos(n theta) and sin(n theta)."""
        if self.fold == 0:
            return np.ones(1)
        return 0.5 * np.array([1.0, -math.cos(self.phase), math.sin(self.phase)])

    def factors(self, places: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Angular factor at places (point,) relative to the scatterer, and its derivative by the phase."""
        if self.fold == 0:
            return np.ones(places.size), np.zeros(places.size)
        angle = self.fold * np.arctan2(places.y, places.x) + self.phase
        half = np.where(np.hypot(places.x, places.y) > 0, 0.5, 0.0)
        return 0.5 - half * np.cos(angle), half * np.sin(angle)

    @property
    def slopes(self) -> NDArray[np.float64]:
        """Derivatives of the weights by the phase."""
        if self.fold == 0:
            return np.zeros(1)
        return 0.5 * np.array([0.0, math.sin(self.phase), math.cos(self.phase)])


@dataclass(frozen=True)
class QuadraticForm:
    """The squared distance of an image from a linear model with coefficients c: ``energy - 2 linear.c + c.gram.c``.

    Attributes
    ----------
    gram
        (h, h, function, function) float64: products of the model's columns, by harmonic and radial function. The
        harmonics are 1, then cos(n theta) and sin(n theta) for each of ``folds``.
    linear
        (h, function) float64: products of the columns with the image.
    energy
        Sum of the squared pixels.
    pixels
        Number of pixels.
    folds
        Symmetries other than total.
    faintest
        Least mean square of a pixel to which rounding of the model is relative.
    """

    gram: NDArray[np.float64]
    linear: NDArray[np.float64]
    energy: float
    pixels: int
    folds: tuple[int, ...]
    faintest: float

    @property
    def brightness(self) -> float:
        """Mean square of the pixels, or ``faintest`` if that is more."""
        return max(self.energy / self.pixels, self.faintest)

    @property
    def shows_nothing(self) -> bool:
        """Whether the image is faint, and that of the mean profile at its scatterers would be, too."""
        return max(self.energy, float(self.gram[0, 0, 0, 0])) / self.pixels < self.faintest

    def of_fold(self, fold: int) -> QuadraticForm:
        """The part of the harmonics of one symmetry."""
        rows = [0]
        if fold:
            place = self.folds.index(fold)
            rows += [2 * place + 1, 2 * place + 2]
        folds = (fold,) if fold else ()
        return replace(self, gram=self.gram[np.ix_(rows, rows)], linear=self.linear[rows], folds=folds)

    def of_profile(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Gram matrices (..., function, function) and vectors (..., function) of the profile, the angular factor fixed.

        Parameters
        ----------
        weights
            (..., h): coefficients of the harmonics, see :attr:`Symmetry.weights`.
        """
        h, size = self.linear.shape
        products = weights[..., :, None] * weights[..., None, :]
        gram = products.reshape(-1, h * h) @ self.gram.reshape(h * h, size * size)
        return gram.reshape(*weights.shape[:-1], size, size), weights @ self.linear

    def squared_distance(self, weights: NDArray[np.float64], coefficient: NDArray[np.float64]) -> float:
        """Squared distance of the image from a model: harmonics (h,) times radial functions (function,)."""
        gram, linear = self.of_profile(weights)
        return float(self.energy - 2 * linear @ coefficient + coefficient @ gram @ coefficient)


def pixels_of(grid: Grid) -> Points:
    """The pixels of a grid, row by row."""
    x, y = np.tile(grid.x_nm, grid.ny), np.repeat(grid.y_nm, grid.nx)
    return Points(x, y, np.ones(len(x)))


def quadratic_form(
    image: NDArray[np.floating],
    pixels: Points,
    scatterers: Points,
    basis: RadialBasis,
    folds: Sequence[int],
    *,
    dtype: type[np.floating] = np.float32,
) -> QuadraticForm:
    """Reduce an image to the quadratic form of its linear model.

    The columns of the model are rounded to float32.

    Parameters
    ----------
    image
        (y, x) or (pixel,): the observation.
    pixels
        Its pixels.
    scatterers
        Its scatterers.
    basis
        Radial functions.
    folds
        Symmetries other than total, ascending.
    dtype
        Precision of the products. Sums of float32 products are good to about 1e-7 of the image's energy, so they cannot
        tell a residual below 3e-4 of the image from 0; float64 takes twice the time.
    """
    flat = np.ascontiguousarray(image, dtype=np.float64).ravel()
    scale = max(float(np.abs(flat).max(initial=0.0)), np.finfo(np.float64).tiny)
    scaled = (flat / scale).astype(dtype)
    harmonics, table = 1 + 2 * len(folds), _table(basis)
    columns = harmonics * table.shape[1]
    gram, linear = np.zeros((columns, columns)), np.zeros(columns)
    block = np.empty((min(CHUNK, pixels.size), harmonics, table.shape[1]), np.float32)
    wanted = np.array([*folds, 0], dtype=np.int64)
    for start in range(0, pixels.size, CHUNK):
        some = _slice(pixels, start, start + CHUNK)
        part = block[: some.size]
        part[:] = 0
        add_harmonics(some, scatterers, wanted, basis.spacing_nm, table, part)
        held = part.reshape(some.size, columns).astype(dtype, copy=False)
        gram += held.T @ held
        linear += held.T @ scaled[start : start + CHUNK]
    shape = harmonics, table.shape[1]
    blocks = gram.reshape(*shape, *shape).transpose(0, 2, 1, 3)[..., : basis.size, : basis.size]
    vectors = scale * linear.reshape(shape)[:, : basis.size]
    return QuadraticForm(
        gram=np.ascontiguousarray(blocks),
        linear=vectors,
        energy=float(flat @ flat),
        pixels=len(flat),
        folds=tuple(folds),
        faintest=(FAINTEST * basis.peak) ** 2,
    )


def superposed(
    pixels: Points, scatterers: Points, basis: RadialBasis, symmetry: Symmetry, coefficient: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Image (pixel,) of a separable kernel at all scatterers; with :data:`ORIGIN` the kernel itself."""
    value = np.zeros(pixels.size)
    add_kernels(pixels, scatterers, *symmetry, basis.spacing_nm, basis.splines @ coefficient, value)
    return value


@dataclass(frozen=True)
class Linearised:
    """Derivatives of the image of a separable kernel, in float32.

    Attributes
    ----------
    columns
        (pixel, function + 1 + 2 scatterer): derivatives by the coefficients of the radial functions, by the phase, and
        by x and y of every scatterer in turn.
    single
        (pixel, scatterer): contribution of every scatterer.
    """

    columns: NDArray[np.float32]
    single: NDArray[np.float32]


def linearise(
    pixels: Points,
    scatterers: Points,
    basis: RadialBasis,
    symmetry: Symmetry,
    coefficient: NDArray[np.float64],
    *,
    nearest_nm: float,
) -> Linearised:
    """Compute the derivatives of a kernel's image.

    Parameters
    ----------
    pixels, scatterers
        Where the image is computed, and the places of the kernel.
    basis, symmetry, coefficient
        The kernel; coefficient is (function,).
    nearest_nm
        The angular factor changes rapidly close to a scatterer; closer than this distance its derivative by the
        position is taken as there.
    """
    count = scatterers.size
    columns = np.empty((pixels.size, basis.size + 1 + 2 * count), np.float32)
    single = np.empty((pixels.size, count), np.float32)
    functions, profile = basis.splines.astype(np.float32), basis.splines @ coefficient
    work = np.empty((min(CHUNK, pixels.size), len(profile)), np.float32)
    for start in range(0, pixels.size, CHUNK):
        rows = slice(start, start + CHUNK)
        some = _slice(pixels, start, start + CHUNK)
        part = work[: some.size]
        part[:] = 0
        fill_derivatives(
            some, scatterers, *symmetry, basis.spacing_nm, profile, nearest_nm, part, columns[rows], single[rows]
        )
        columns[rows, : basis.size] = part @ functions
    return Linearised(columns, single)


def _slice(points: Points, start: int, stop: int) -> Points:
    return Points(*(part[start:stop] for part in points))


def _table(basis: RadialBasis) -> NDArray[np.float32]:
    """The basis in float32, padded with functions that are 0."""
    padding = -basis.size % LANES
    return np.pad(basis.splines.astype(np.float32), ((0, 0), (0, padding)))
