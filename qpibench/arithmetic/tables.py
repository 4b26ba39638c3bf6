"""Superposition of kernels without a closed form: quintic B-splines of samples, with the same bits on every machine.

A kernel is sampled on a lattice of offsets that is finer than the pixels by a whole number, and its table has the
coefficients of the quintic B-spline through the samples. The offsets of a scatterer from the pixels have the same
position between samples for every pixel, so the weights of the spline are constants of the scatterer. The coefficients
of a row are stored by phase, their number modulo the samples per pixel, so neighbouring pixels read neighbouring
numbers.

For each scatterer, a row of the lattice is weighted along x, which gives a number per pixel of the row, and six such
rows are weighted along y. Rows that pixels share are weighted once. All sums run in a written order, so tiles, threads
and batches cannot change a bit. ``kernels_cuda/superpose_table.cu`` states the same operations in the same order.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.ieee import add_rows_64, fma, prefer_wide_vectors, rint, weigh_rows_64

TAPS = 6
"""Coefficients that a quintic spline needs along an axis."""

BEFORE, AFTER = 2, 3
"""Taps below and above the sample at or below an offset."""

EDGE = 16
"""Samples beyond the coefficients of a table on every side; they keep the edge of the lattice out of the spline."""

WIDTH = 64
"""Columns of a tile; a table needs as many readable numbers after its last one."""

BLOCK, TILE = 16, 64
"""Rows of a block, whose weighted rows fit the first-level cache, and of a tile."""

_POLES = (
    -0.43057534709997379185143068,
    -0.04309628820326465382271063,
)
"""Roots inside the unit circle of z^4 + 26 z^3 + 66 z^2 + 26 z + 1, the quintic B-spline at the integers."""

GAIN = 14400.0
"""120^2: a quintic B-spline at the integers is that polynomial over 120, in each of two directions."""

_HORIZON = 48
"""Samples from which the recursion along an axis starts; the pole's power of this number is below 2^-58."""

_BAND = (0, WIDTH, 2 * WIDTH, 3 * WIDTH, 4 * WIDTH, 5 * WIDTH)
"""Places of six rows that follow each other."""

_ALIGNMENT = 64
_f32 = np.float32


class Table(NamedTuple):
    """The spline of a kernel.

    Attributes
    ----------
    values
        (row, phase, column) float32: the coefficient at the sample (``column * phases + phase``, ``row``), counted from
        the first one. At least `WIDTH` readable numbers follow the last in memory.
    first_x, first_y
        Numbers of the first samples along x and y; sample k lies at the offset ``k * step``.
    step_x, step_y
        Distances of the samples in nm.
    per_pixel_y
        Samples per pixel along y; along x it is the number of phases.
    reach_x, reach_y
        The kernel is 0 at larger offsets in nm along x or y.
    """

    values: NDArray[np.float32]
    first_x: int
    first_y: int
    step_x: float
    step_y: float
    per_pixel_y: int
    reach_x: float
    reach_y: float


@compiled(nogil=True, error_model="numpy")
def coefficients(samples):  # type: ignore[no-untyped-def]
    """The coefficients times 1/14400 of the spline through samples (y, x) float64, transposed: (x, y).

    The samples are continued by reflection at their first and last ones.
    """
    rows, columns = samples.shape
    across = np.empty((columns, rows))
    for x in range(columns):
        for y in range(rows):
            across[x, y] = samples[y, x]
    _filter(across)
    down = np.empty((rows, columns))
    for y in range(rows):
        for x in range(columns):
            down[y, x] = across[x, y]
    _filter(down)
    return down


@nb.njit(inline="always")
def _filter(lines):  # type: ignore[no-untyped-def]
    """Divide by the B-spline along the first axis, in place; every column is a line of samples."""
    count, width = lines.shape
    horizon = min(_HORIZON, count)
    start = np.empty(width)
    for pole in _POLES:
        start[:] = lines[horizon - 1]
        for k in range(horizon - 2, -1, -1):
            for i in range(width):
                start[i] = fma(pole, start[i], lines[k, i])
        lines[0] = start
        for k in range(1, count):
            for i in range(width):
                lines[k, i] = fma(pole, lines[k - 1, i], lines[k, i])
        last = pole / (pole * pole - 1.0)
        for i in range(width):
            lines[count - 1, i] = last * fma(pole, lines[count - 2, i], lines[count - 1, i])
        for k in range(count - 2, -1, -1):
            for i in range(width):
                lines[k, i] = pole * (lines[k + 1, i] - lines[k, i])


@compiled(nogil=True, error_model="numpy")
def phases(spline, values):  # type: ignore[no-untyped-def]
    """Fill the values of a table (row, phase, column) from what :func:`coefficients` returns, without its edges."""
    rows, phases, columns = values.shape
    most = spline.shape[1] - 2 * EDGE
    for row in range(rows):
        for phase in range(phases):
            for column in range(columns):
                at = column * phases + phase
                values[row, phase, column] = _f32(GAIN * spline[EDGE + row, EDGE + at]) if at < most else _f32(0)


@nb.njit(inline="always")
def spline_weights(t):  # type: ignore[no-untyped-def]
    """The six weights of the spline, float64, at a fraction t between two samples."""
    s = 1.0 - t
    t2 = t * t
    s2 = s * s
    # Mirror images: polynomials in t and in s.
    return (
        s2 * s2 * s / 120.0,
        _shoulder(s, s2),
        _summit(t, t2),
        _summit(s, s2),
        _shoulder(t, t2),
        t2 * t2 * t / 120.0,
    )


@nb.njit(inline="always")
def _shoulder(t, t2):  # type: ignore[no-untyped-def]
    return (1.0 + 5.0 * t + 10.0 * t2 + 10.0 * t2 * t + 5.0 * t2 * t2 - 5.0 * t2 * t2 * t) / 120.0


@nb.njit(inline="always")
def _summit(t, t2):  # type: ignore[no-untyped-def]
    return (66.0 - 60.0 * t2 + 30.0 * t2 * t2 - 10.0 * t2 * t2 * t) / 120.0


@compiled(nogil=True, error_model="numpy")
def superpose_table(axes, tables, number, position, amplitude, species, image):  # type: ignore[no-untyped-def]
    """Fill images (observation, y, x) of the same kernels with superpositions.

    ``tables`` are those of the two species, on one lattice; they are the same if there is one species. For ``axes``,
    ``number``, ``position``, ``amplitude`` and ``species`` see :mod:`qpibench.arithmetic.superposition`.
    """
    for k in range(len(image)):
        _superpose(axes, tables, position[k], amplitude[k], species[k], number[k], image[k])


@nb.njit(inline="always")
def _within(at, place, reach):  # type: ignore[no-untyped-def]
    """The first pixel of an axis within reach of a scatterer, and the one behind the last."""
    first, behind = 0, len(at)
    while first < behind and at[first] - place < -reach:
        first += 1
    while behind > first and at[behind - 1] - place > reach:
        behind -= 1
    return first, behind


@nb.njit(inline="always")
def _superpose(axes, tables, position, amplitude, species, count, image):  # type: ignore[no-untyped-def]
    prefer_wide_vectors()  # type: ignore[call-arg]
    ny, nx = image.shape
    table = tables[0]
    per_y = table.per_pixel_y
    per_x = table.values.shape[1]
    columns = table.values.shape[2]
    coefficients_of = (table.values.reshape(-1), tables[1].values.reshape(-1))
    kept = min(per_y, TAPS)  # weighted rows per pixel
    wx = np.empty((count, TAPS), np.float32)
    wy = np.empty((count, TAPS), np.float32)
    first_x = np.empty(count, np.int64)
    first_y = np.empty(count, np.int64)
    window = np.empty((count, 4), np.int64)
    for scatterer in range(count):
        px = position[scatterer, 0]
        py = position[scatterer, 1]
        window[scatterer, 0], window[scatterer, 1] = _within(axes.x, px, table.reach_x)
        window[scatterer, 2], window[scatterer, 3] = _within(axes.y, py, table.reach_y)
        ux = (axes.x[0] - px) / table.step_x
        uy = (axes.y[0] - py) / table.step_y
        kx = rint(ux - 0.5)
        ky = rint(uy - 0.5)
        in_x = spline_weights(ux - kx)
        in_y = spline_weights(uy - ky)
        for tap in range(TAPS):
            wx[scatterer, tap] = _f32(in_x[tap])
            wy[scatterer, tap] = _f32(in_y[tap])
        first_x[scatterer] = np.int64(kx) - BEFORE - table.first_x
        first_y[scatterer] = np.int64(ky) - BEFORE - table.first_y
    memory = np.empty((TILE + BLOCK * TAPS) * WIDTH + _ALIGNMENT // 4, np.float32)
    aligned = (_ALIGNMENT - memory.ctypes.data % _ALIGNMENT) % _ALIGNMENT // 4
    tile = memory[aligned : aligned + TILE * WIDTH]
    band = memory[aligned + TILE * WIDTH : aligned + (TILE + BLOCK * TAPS) * WIDTH]
    start = np.empty(TAPS, np.int64)
    for top in range(0, ny, TILE):
        for left in range(0, nx, WIDTH):
            tile[:] = _f32(0)
            for scatterer in range(count):
                begin = max(left, window[scatterer, 0])
                end = min(left + WIDTH, window[scatterer, 1])
                if begin >= end:
                    continue
                is_whole = begin == left and (end == left + WIDTH or end == nx)
                for tap in range(TAPS):
                    at = first_x[scatterer] + per_x * begin + tap
                    start[tap] = at % per_x * columns + at // per_x
                of_x = _six(wx, scatterer)
                of_y = _six(wy, scatterer)
                factor = amplitude[scatterer]
                flat = coefficients_of[species[scatterer]]
                highest = min(top + TILE, window[scatterer, 3])
                for lowest in range(max(top, window[scatterer, 2]), highest, BLOCK):
                    rows = min(BLOCK, highest - lowest)
                    needed = (rows - 1) * kept + TAPS
                    base = first_y[scatterer] + per_y * lowest
                    for k in range(needed):
                        row = base + (k if per_y < TAPS else k // TAPS * per_y + k % TAPS)
                        line = row * per_x * columns
                        starts = _shifted(start, line)
                        if is_whole:
                            weigh_rows_64(flat, starts, of_x, band, k * WIDTH)
                        else:
                            _weigh_rows(flat, starts, of_x, band, k * WIDTH, end - begin)
                    for k in range(rows):
                        starts = _shifted(_BAND, k * kept * WIDTH)
                        target = (lowest - top + k) * WIDTH + begin - left
                        if is_whole:
                            add_rows_64(band, starts, of_y, tile, target, factor)
                        else:
                            _add_rows(band, starts, of_y, tile, target, factor, end - begin)
            for k in range(min(TILE, ny - top)):
                for j in range(min(WIDTH, nx - left)):
                    # Without this, a negative zero would depend on whether zeros were added or skipped.
                    image[top + k, left + j] = tile[k * WIDTH + j] + _f32(0)


@nb.njit(inline="always")
def _shifted(start, by):  # type: ignore[no-untyped-def]
    return start[0] + by, start[1] + by, start[2] + by, start[3] + by, start[4] + by, start[5] + by


@nb.njit(inline="always")
def _six(weights, scatterer):  # type: ignore[no-untyped-def]
    w = weights[scatterer]
    return w[0], w[1], w[2], w[3], w[4], w[5]


# Where a scatterer reaches a part of the tile's columns only.


@nb.njit(inline="always")
def _weighted(source, starts, weights, j):  # type: ignore[no-untyped-def]
    total = weights[0] * source[starts[0] + j]
    for tap in range(1, TAPS):
        total = fma(weights[tap], source[starts[tap] + j], total)
    return total


@nb.njit(inline="always")
def _weigh_rows(source, starts, weights, target, at, width):  # type: ignore[no-untyped-def]
    for j in range(width):
        target[at + j] = _weighted(source, starts, weights, j)


@nb.njit(inline="always")
def _add_rows(source, starts, weights, target, at, factor, width):  # type: ignore[no-untyped-def]
    for j in range(width):
        target[at + j] = fma(factor, _weighted(source, starts, weights, j), target[at + j])
