"""The linear model of an image in polar coordinates: angular harmonics times radial functions, at all scatterers.

A kernel of n-fold symmetry that separates has the form

    K(r, theta) = f(r) (1 - cos(n theta + phase)) / 2,    f(r) for total symmetry (n = 0),

with the radial profile f = sum_j c_j B_j(r). At r = 0, where the angle is not defined, the angular factor is its mean.
An image is the sum over its scatterers of K, so it is linear in the products of c with 1, cos(phase) and sin(phase).
:func:`quadratic_form` reduces an image to the sums that least squares needs. :func:`linearise` gives the derivatives of
one separable model by everything it depends on, the positions included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.compiled import compiled
from qpibench.grid import Grid
from shared.radial import RadialBasis, spline_slopes, spline_weights

CHUNK = 256
"""Pixels whose harmonics are held at once; their memory fits the second-level cache."""


class Points(NamedTuple):
    """Places in nm, with a strength each: x, y and strength, (point,) float64."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    strength: NDArray[np.float64]

    def __len__(self) -> int:
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
    """

    gram: NDArray[np.float64]
    linear: NDArray[np.float64]
    energy: float
    pixels: int
    folds: tuple[int, ...]

    def of_fold(self, fold: int) -> QuadraticForm:
        """The part of the harmonics of one symmetry."""
        rows = [0]
        if fold:
            place = self.folds.index(fold)
            rows += [2 * place + 1, 2 * place + 2]
        folds = (fold,) if fold else ()
        return QuadraticForm(self.gram[np.ix_(rows, rows)], self.linear[rows], self.energy, self.pixels, folds)

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
    harmonics = 1 + 2 * len(folds)
    columns = harmonics * basis.size
    gram, linear = np.zeros((columns, columns)), np.zeros(columns)
    splines = basis.splines.astype(np.float32)
    tall = 16 * CHUNK
    block = np.empty((min(tall, len(pixels)), columns), np.float32)
    work = np.empty((CHUNK, harmonics, len(splines)), np.float32)
    wanted = np.array([*folds, 0], dtype=np.int64)
    for first in range(0, len(pixels), tall):
        rows = min(tall, len(pixels) - first)
        for start in range(0, rows, CHUNK):
            stop = min(start + CHUNK, rows)
            part = work[: stop - start]
            part[:] = 0
            _add_harmonics(_slice(pixels, first + start, first + stop), scatterers, wanted, basis.spacing_nm, part)
            np.matmul(part.reshape(-1, len(splines)), splines, out=block[start:stop].reshape(-1, basis.size))
        held = block[:rows].astype(dtype, copy=False)
        gram += held.T @ held
        linear += held.T @ flat[first : first + rows].astype(dtype, copy=False)
    shaped = gram.reshape(harmonics, basis.size, harmonics, basis.size).transpose(0, 2, 1, 3)
    return QuadraticForm(
        np.ascontiguousarray(shaped), linear.reshape(harmonics, -1), float(flat @ flat), len(flat), tuple(folds)
    )


@dataclass(frozen=True)
class Linearised:
    """The image of a separable model, and its derivatives, in float32.

    Attributes
    ----------
    radial
        (pixel, function): derivatives by the coefficients of the radial functions.
    angular
        (pixel,): derivative by the phase.
    position
        (pixel, 2 scatterer): derivatives by x and y of every scatterer in turn; empty if not asked for.
    single
        (pixel, scatterer): contribution of every scatterer; empty if not asked for.
    """

    radial: NDArray[np.float32]
    angular: NDArray[np.float32]
    position: NDArray[np.float32]
    single: NDArray[np.float32]


def linearise(
    pixels: Points,
    scatterers: Points,
    basis: RadialBasis,
    symmetry: Symmetry,
    coefficient: NDArray[np.float64],
    *,
    nearest_nm: float | None = None,
) -> Linearised:
    """Compute a model's derivatives.

    Parameters
    ----------
    pixels, scatterers
        Where the image is computed, and the places of the kernel.
    basis, symmetry, coefficient
        The kernel; coefficient is (function,).
    nearest_nm
        If given, the derivatives by the positions are computed too. The angular factor changes rapidly close to a
        scatterer; closer than this distance its derivative is taken as there.
    """
    splines = basis.splines.astype(np.float32)
    profile = basis.splines @ coefficient
    count = 0 if nearest_nm is None else len(scatterers)
    radial = np.empty((len(pixels), basis.size), np.float32)
    angular = np.empty(len(pixels), np.float32)
    position = np.empty((len(pixels), 2 * count), np.float32)
    single = np.empty((len(pixels), count), np.float32)
    work = np.empty((2, CHUNK, len(splines)), np.float32)
    for start in range(0, len(pixels), CHUNK):
        stop = min(start + CHUNK, len(pixels))
        part = work[:, : stop - start]
        part[:] = 0
        _add_separable(
            _slice(pixels, start, stop),
            scatterers,
            *symmetry,
            basis.spacing_nm,
            profile,
            nearest_nm or 1.0,
            part,
            position[start:stop],
            single[start:stop],
        )
        np.matmul(part[0], splines, out=radial[start:stop])
        np.matmul(part[1], profile.astype(np.float32), out=angular[start:stop])
    return Linearised(radial, angular, position, single)


def _slice(points: Points, start: int, stop: int) -> Points:
    return Points(*(part[start:stop] for part in points))


@compiled(nogil=True, error_model="numpy")
def _add_harmonics(pixels: Any, scatterers: Any, folds: Any, spacing_nm: Any, out: Any) -> None:
    """Add to ``out`` (pixel, harmonic, spline) the splines at all scatterers; ``folds`` ascend and end with 0."""
    harmonics, splines = out.shape[1:]
    reach = (splines - 3) * spacing_nm
    factor = np.empty(harmonics, np.float32)
    factor[0] = 1.0
    highest = 0
    for fold in folds:
        highest = max(highest, fold)
    for p in range(len(pixels.x)):
        for s in range(len(scatterers.x)):
            dx = pixels.x[p] - scatterers.x[s]
            dy = pixels.y[p] - scatterers.y[s]
            r = math.sqrt(dx * dx + dy * dy)
            if r >= reach:
                continue
            ux = dx / r if r > 0.0 else 0.0
            uy = dy / r if r > 0.0 else 0.0
            c = 1.0
            s_ = 0.0
            place = 0
            for order in range(1, highest + 1):
                c, s_ = c * ux - s_ * uy, c * uy + s_ * ux
                if order == folds[place]:
                    factor[2 * place + 1] = c
                    factor[2 * place + 2] = s_
                    place += 1
            interval = int(r / spacing_nm)
            w0, w1, w2, w3 = spline_weights(r / spacing_nm - interval)
            strength = scatterers.strength[s]
            v0 = np.float32(w0 * strength)
            v1 = np.float32(w1 * strength)
            v2 = np.float32(w2 * strength)
            v3 = np.float32(w3 * strength)
            for h in range(harmonics):
                f = factor[h]
                row = out[p, h]
                row[interval] += f * v0
                row[interval + 1] += f * v1
                row[interval + 2] += f * v2
                row[interval + 3] += f * v3


@compiled(nogil=True, error_model="numpy")
def _add_separable(
    pixels: Any,
    scatterers: Any,
    fold: Any,
    phase: Any,
    spacing_nm: Any,
    profile: Any,
    nearest_nm: Any,
    out: Any,
    position: Any,
    single: Any,
) -> None:
    """Add to ``out`` (2, pixel, spline) the splines times the angular factor and times its derivative by the phase.

    Fills the other two arrays, those of :class:`Linearised`; ``profile`` (spline,) has the profile's coefficients.
    """
    splines = out.shape[2]
    reach = (splines - 3) * spacing_nm
    cos_phase = math.cos(phase)
    sin_phase = math.sin(phase)
    wants_positions = single.shape[1] > 0
    for p in range(len(pixels.x)):
        for s in range(len(scatterers.x)):
            if wants_positions:
                position[p, 2 * s] = 0.0
                position[p, 2 * s + 1] = 0.0
                single[p, s] = 0.0
            dx = pixels.x[p] - scatterers.x[s]
            dy = pixels.y[p] - scatterers.y[s]
            r = math.sqrt(dx * dx + dy * dy)
            if r >= reach:
                continue
            ux = dx / r if r > 0.0 else 0.0
            uy = dy / r if r > 0.0 else 0.0
            angular = 1.0
            slope = 0.0
            if fold > 0:
                c = 1.0
                s_ = 0.0
                for _ in range(fold):
                    c, s_ = c * ux - s_ * uy, c * uy + s_ * ux
                angular = 0.5 - 0.5 * (c * cos_phase - s_ * sin_phase)
                slope = 0.5 * (c * sin_phase + s_ * cos_phase)
            interval = int(r / spacing_nm)
            w0, w1, w2, w3 = spline_weights(r / spacing_nm - interval)
            strength = scatterers.strength[s]
            row = out[0, p]
            f = np.float32(angular * strength)
            row[interval] += f * np.float32(w0)
            row[interval + 1] += f * np.float32(w1)
            row[interval + 2] += f * np.float32(w2)
            row[interval + 3] += f * np.float32(w3)
            if fold > 0:
                row = out[1, p]
                f = np.float32(slope * strength)
                row[interval] += f * np.float32(w0)
                row[interval + 1] += f * np.float32(w1)
                row[interval + 2] += f * np.float32(w2)
                row[interval + 3] += f * np.float32(w3)
            if wants_positions:
                d0, d1, d2, d3 = spline_slopes(r / spacing_nm - interval)
                p0 = profile[interval]
                p1 = profile[interval + 1]
                p2 = profile[interval + 2]
                p3 = profile[interval + 3]
                value = w0 * p0 + w1 * p1 + w2 * p2 + w3 * p3
                along = (d0 * p0 + d1 * p1 + d2 * p2 + d3 * p3) / spacing_nm * angular * strength
                across = value * slope * fold / max(r, nearest_nm) * strength
                position[p, 2 * s] = across * uy - along * ux
                position[p, 2 * s + 1] = -across * ux - along * uy
                single[p, s] = value * angular * strength
