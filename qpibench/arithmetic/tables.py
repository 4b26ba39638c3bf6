"""Superposition of kernels without a closed form: septic B-splines of samples, with the same bits on every machine.

A kernel is sampled on a lattice of offsets that is finer than the pixels by a whole number, and its table has the
coefficients of the septic B-spline through the samples. The offsets of a scatterer from the pixels have the same
position between samples for every pixel, so the weights of the spline are constants of the scatterer. The coefficients
of a row are stored by phase, their number modulo the samples per pixel, so neighbouring pixels read neighbouring
numbers.

For each scatterer, eight rows of the lattice are weighted along y, which gives a row of numbers by phase, and eight of
these numbers are weighted along x. Both directions share what neighbouring pixels have in common. All sums run in a
written order, so tiles, threads and batches cannot change a bit. ``kernels_cuda/superpose_table.cu`` states the same
operations in the same order.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.ieee import LANES, add_weighted, fma, lines_weigher, prefer_wide_vectors, rint

TAPS = 8
"""Coefficients that a septic spline needs along an axis."""

BEFORE = 3
"""Taps below the sample at or below an offset."""

EDGE = 20
"""Samples beyond the coefficients of a table on every side; they keep the edge of the lattice out of the spline."""

TILE = 64
"""Rows and columns of a tile."""

SPAN = TILE + 2 * LANES
"""Columns of weighted rows: a tile's, and those that taps at larger numbers need. So many numbers are readable after
the last one of a table."""

BLOCK = 8
"""Rows of a tile that are made together, to read each row of the lattice once."""

MOST_SHARED = 4
"""Samples per pixel up to which rows of a block are made together."""

_weigh_row = lines_weigher(1, 1)
_weigh_1, _weigh_2, _weigh_3, _weigh_4 = (lines_weigher(BLOCK, 1 + more) for more in range(MOST_SHARED))

_POLES = (
    -0.53528043079643816554240378168164607183392315234269,
    -0.12255461519232669051527226435935734360548654942730,
    -0.0091486948096082769285930216516478534156925639545994,
)
"""Roots inside the unit circle of z^6 + 120 z^5 + 1191 z^4 + 2416 z^3 + ..., the septic B-spline at the integers."""

GAIN = 25401600.0
"""5040^2: a septic B-spline at the integers is that polynomial over 5040, in each of two directions."""

_HORIZON = 72
"""Samples from which the recursion along an axis starts; the pole's power of this number is below 2^-58."""

_ALIGNMENT = 64
_f32 = np.float32


class Table(NamedTuple):
    """The spline of a kernel.

    Attributes
    ----------
    values
        (row, phase, column) float32: the coefficient at the sample (``column * phases + phase``, ``row``), counted from
        the first one. At least `SPAN` readable numbers follow the last in memory.
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
    """The coefficients times 1/25401600 of the spline through samples (y, x) float64, transposed: (x, y).

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
        for i in range(width):
            start[i] = lines[horizon - 1, i]
        for k in range(horizon - 2, -1, -1):
            for i in range(width):
                start[i] = fma(pole, start[i], lines[k, i])
        for i in range(width):
            lines[0, i] = start[i]
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
    """The eight weights of the spline, float64, at a fraction t between two samples."""
    s = 1.0 - t
    # Mirror images: polynomials in t and in s.
    return _tail(s), _foot(s), _shoulder(s), _summit(t), _summit(s), _shoulder(t), _foot(t), _tail(t)


@nb.njit(inline="always")
def _tail(t):  # type: ignore[no-untyped-def]
    t2 = t * t
    return t2 * t2 * t2 * t / 5040.0


@nb.njit(inline="always")
def _foot(t):  # type: ignore[no-untyped-def]
    return (((((((7.0 - 7.0 * t) * t + 21.0) * t + 35.0) * t + 35.0) * t + 21.0) * t + 7.0) * t + 1.0) / 5040.0


@nb.njit(inline="always")
def _shoulder(t):  # type: ignore[no-untyped-def]
    t2 = t * t
    return (((((21.0 * t - 42.0) * t - 84.0) * t2 + 280.0) * t + 504.0) * t2 + 392.0 * t + 120.0) / 5040.0


@nb.njit(inline="always")
def _summit(t):  # type: ignore[no-untyped-def]
    t2 = t * t
    return ((((35.0 * t - 140.0) * t2 + 560.0) * t2 - 1680.0) * t2 + 2416.0) / 5040.0


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
    line = per_x * columns
    coefficients_of = (table.values.reshape(-1), tables[1].values.reshape(-1))
    planes = min(per_x, TAPS)  # phases that the taps of a pixel read
    pitch = planes * SPAN
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
    memory = np.empty(TILE * TILE + BLOCK * TAPS * SPAN + _ALIGNMENT // 4, np.float32)
    aligned = (_ALIGNMENT - memory.ctypes.data % _ALIGNMENT) % _ALIGNMENT // 4
    tile = memory[aligned : aligned + TILE * TILE]
    band = memory[aligned + TILE * TILE : aligned + TILE * TILE + BLOCK * TAPS * SPAN]
    start = np.empty(TAPS, np.int64)
    place = np.empty(TAPS, np.int64)
    for top in range(0, ny, TILE):
        for left in range(0, nx, TILE):
            tile[:] = _f32(0)
            for scatterer in range(count):
                begin = max(left, window[scatterer, 0])
                end = min(left + TILE, window[scatterer, 1])
                if begin >= end:
                    continue
                width = end - begin
                at = first_x[scatterer] + per_x * begin
                left_column = at // per_x // LANES * LANES
                for tap in range(TAPS):
                    if tap < planes:
                        start[tap] = (at + tap) % per_x * columns + left_column
                    place[tap] = tap % planes * SPAN + (at + tap) // per_x - left_column
                vectors = ((at + TAPS - 1) // per_x - left_column + width + LANES - 1) // LANES
                places = _eight(place)
                # Numbers behind the last pixel of a row are not used.
                wide = width + LANES - 1 if begin == left and end in (left + TILE, nx) else width
                of_x = _eight(wx[scatterer])
                of_y = _eight(wy[scatterer])
                factor = amplitude[scatterer]
                flat = coefficients_of[species[scatterer]]
                row = max(top, window[scatterer, 2])
                last = min(top + TILE, window[scatterer, 3])
                while row < last:
                    base = (first_y[scatterer] + per_y * row) * line
                    rows = BLOCK if per_y <= MOST_SHARED and row + BLOCK <= last else 1
                    if rows == 1:
                        _weigh(_weigh_row, flat, base, start, planes, vectors, line, of_y, band, pitch)
                    elif per_y == 1:
                        _weigh(_weigh_1, flat, base, start, planes, vectors, line, of_y, band, pitch)
                    elif per_y == 2:
                        _weigh(_weigh_2, flat, base, start, planes, vectors, line, of_y, band, pitch)
                    elif per_y == 3:
                        _weigh(_weigh_3, flat, base, start, planes, vectors, line, of_y, band, pitch)
                    else:
                        _weigh(_weigh_4, flat, base, start, planes, vectors, line, of_y, band, pitch)
                    for k in range(rows):
                        taps = _shifted(places, k * pitch)
                        target = (row - top + k) * TILE + begin - left
                        done = 0
                        while done + LANES <= wide:
                            add_weighted(band, _shifted(taps, done), of_x, tile, target + done, factor)
                            done += LANES
                        for j in range(done, width):
                            total = of_x[0] * band[taps[0] + j]
                            for tap in range(1, TAPS):
                                total = fma(of_x[tap], band[taps[tap] + j], total)
                            tile[target + j] = fma(factor, total, tile[target + j])
                    row += rows
            for k in range(min(TILE, ny - top)):
                for j in range(min(TILE, nx - left)):
                    # Without this, a negative zero would depend on whether zeros were added or skipped.
                    image[top + k, left + j] = tile[k * TILE + j] + _f32(0)


@nb.njit(inline="always")
def _weigh(weigh, values, base, start, planes, vectors, line, weights, band, pitch):  # type: ignore[no-untyped-def]
    """Weigh rows of the lattice along y, for every phase that is needed."""
    for plane in range(planes):
        for k in range(vectors):
            weigh(values, base + start[plane] + k * LANES, line, weights, band, plane * SPAN + k * LANES, pitch)


@nb.njit(inline="always")
def _shifted(at, by):  # type: ignore[no-untyped-def]
    return at[0] + by, at[1] + by, at[2] + by, at[3] + by, at[4] + by, at[5] + by, at[6] + by, at[7] + by


@nb.njit(inline="always")
def _eight(w):  # type: ignore[no-untyped-def]
    return w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
