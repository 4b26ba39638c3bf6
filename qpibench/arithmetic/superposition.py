"""Superposition in strict float32: images from their scatterers, with the same bits on every machine.

An image is computed in tiles of ``TILE`` x ``TILE`` pixels, whose accumulators fit the first-level cache. The inner
loop has a constant length, so that the compiler vectorises it. Scatterers are added in index order into one
accumulator per pixel, so tiles, threads and batches cannot change a bit. A scatterer is skipped in tiles and rows where
its envelope is exactly 0, which changes no bit either.

For each scatterer, the offsets of rows and columns are computed in float64 and rounded once. The envelope exp(-C r^2)
is a row factor times a column factor, and the amplitude of the scatterer is part of the row factor. The formula of a
family gets r^2, both components of the offset along axes rotated by the kernel's angle a, and the envelope.

These functions are not cached on disk, because Numba cannot cache a function that has functions as arguments. The
module of a family calls them from small functions of its own, which are cached. ``kernels_cuda/superpose.cuh`` states
the same operations in the same order.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.elementary import exp2_f32
from qpibench.arithmetic.ieee import prefer_wide_vectors, sqrt

TILE = 64
LOG2_E = 1.4426950408889634

_f32 = np.float32
_ALIGNMENT = 64


class Axes(NamedTuple):
    """Coordinates of the pixels in nm, ascending: x (nx,) and y (ny,) float64."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]


class Formulas(NamedTuple):
    """The kernels of a run of observations.

    ``stratum`` (kernel,) int32 selects the formula. ``table`` (kernel, 5) float64 has its numbers: cos a, sin a, two
    numbers that the family defines, and -C log2(e).
    """

    stratum: NDArray[np.int32]
    table: NDArray[np.float64]


class Scatterers(NamedTuple):
    """The scatterers of a run of observations.

    ``number`` (observation,) int32, ``position`` (observation, scatterer, xy) float64 in nm, ``amplitude``
    (observation, scatterer) float32, and ``species`` (observation, scatterer) int32, the number of a scatterer's kernel
    among those of the observation. Entries after the last scatterer are not read.
    """

    number: NDArray[np.int32]
    position: NDArray[np.float64]
    amplitude: NDArray[np.float32]
    species: NDArray[np.int32]


@nb.njit(inline="always")
def superpose_tiles(  # type: ignore[no-untyped-def]
    add, add_at_centre, needs, gain, axes, position, amplitude, species, count, numbers, image
):
    """Fill ``image`` (ny, nx) float32 with the superposition of ``count`` scatterers.

    Parameters
    ----------
    add, add_at_centre
        ``add(pixel, r2, c, s, weight, first, second)`` returns the pixel after one more scatterer, float32. c and s are
        the components of the offset along the rotated axes; weight is the envelope times amplitude and gain.
        ``add_at_centre`` is the same and is called for rows in which r2 may be 0.
    needs
        How many components the formula uses, a constant: 0, 1 (c) or 2. The others are undefined.
    gain
        A power of two, float32, by which every weight is multiplied.
    axes, position, amplitude, species, count
        See :class:`Axes` and :class:`Scatterers`, of one observation.
    numbers
        (species, 5): a row of the table of :class:`Formulas` for each species.
    """
    prefer_wide_vectors()  # type: ignore[call-arg]
    x = axes.x
    y = axes.y
    ny, nx = image.shape
    at = np.empty(2 * TILE, np.float64)
    # One aligned block for all work arrays: columns in the first half of each, rows in the second.
    memory = np.empty(TILE * TILE + 8 * TILE + _ALIGNMENT // 4, np.float32)
    start = (_ALIGNMENT - memory.ctypes.data % _ALIGNMENT) % _ALIGNMENT // 4
    tile = memory[start : start + TILE * TILE].reshape(TILE, TILE)
    start += TILE * TILE
    d2 = memory[start : start + 2 * TILE]
    dc = memory[start + 2 * TILE : start + 4 * TILE]
    ds = memory[start + 4 * TILE : start + 6 * TILE]
    envelope = memory[start + 6 * TILE : start + 8 * TILE]
    for top in range(0, ny, TILE):
        rows = min(TILE, ny - top)
        for left in range(0, nx, TILE):
            columns = min(TILE, nx - left)
            for k in range(TILE):
                at[k] = x[min(left + k, nx - 1)]
                at[TILE + k] = y[min(top + k, ny - 1)]
            tile[:] = _f32(0)
            for scatterer in range(count):
                px = position[scatterer, 0]
                py = position[scatterer, 1]
                kind = species[scatterer]
                ca = numbers[kind, 0]
                sa = numbers[kind, 1]
                first = _f32(numbers[kind, 2])
                second = _f32(numbers[kind, 3])
                decay = _f32(numbers[kind, 4])
                # Rounding is monotonic, so no pixel has a larger factor than the nearest point of the tile.
                dx = px - min(max(px, at[0]), at[TILE - 1])
                dy = py - min(max(py, at[TILE]), at[2 * TILE - 1])
                if exp2_f32(_f32(dx * dx) * decay) * exp2_f32(_f32(dy * dy) * decay) == _f32(0):
                    continue
                for k in range(TILE):
                    d = at[k] - px
                    d2[k] = _f32(d * d)
                    if needs > 0:
                        dc[k] = _f32(d * ca)
                    if needs > 1:
                        ds[k] = _f32(d * sa)
                for k in range(TILE, 2 * TILE):
                    d = at[k] - py
                    d2[k] = _f32(d * d)
                    if needs > 0:
                        ds[k] = _f32(d * sa)
                    if needs > 1:
                        dc[k] = _f32(d * ca)
                for k in range(2 * TILE):
                    envelope[k] = exp2_f32(d2[k] * decay)
                factor = amplitude[scatterer] * gain
                for k in range(rows):
                    row = TILE + k
                    ey = envelope[row] * factor
                    if ey == _f32(0):
                        continue
                    # r = 0 is possible only in a row with dy = 0; the other rows need no selection.
                    if d2[row] == _f32(0):
                        _add_row(
                            add_at_centre, tile[k], d2, dc, ds, envelope, d2[row], dc[row], ds[row], ey, first, second
                        )
                    else:
                        _add_row(add, tile[k], d2, dc, ds, envelope, d2[row], dc[row], ds[row], ey, first, second)
            for k in range(rows):
                for j in range(columns):
                    # Without this, a negative zero would depend on whether zeros were added or skipped.
                    image[top + k, left + j] = tile[k, j] + _f32(0)


@nb.njit(inline="always")
def _add_row(add, row, dx2, xc, xs, ex, dy2, yc, ys, ey, first, second):  # type: ignore[no-untyped-def]
    """Add one scatterer to one row of a tile."""
    for k in range(TILE):
        row[k] = add(row[k], dx2[k] + dy2, xc[k] - ys, xs[k] + yc, ey * ex[k], first, second)


@nb.njit(inline="always")
def image_of_kernel(value, axes, stratum, numbers, image):  # type: ignore[no-untyped-def]
    """Fill ``image`` (ny, nx) float32 with a scatterer at the origin, computed in float64 and rounded once.

    ``value(stratum, x, y, r2, r, numbers)`` is the kernel at an offset, float64; ``numbers`` is a row of the table.
    """
    for iy in range(len(axes.y)):
        for ix in range(len(axes.x)):
            x = axes.x[ix]
            y = axes.y[iy]
            r2 = x * x + y * y
            image[iy, ix] = _f32(value(stratum, x, y, r2, sqrt(r2), numbers))
