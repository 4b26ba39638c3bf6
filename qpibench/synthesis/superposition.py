"""Superposition of eq. 7 in strict float32: one image from its scatterers, the same bits on every processor.

An image is made in tiles of ``TILE`` x ``TILE`` pixels whose accumulators stay in the first-level cache; the inner loop
has a constant length, so that it becomes straight vector code. Scatterers are added in index order into one
accumulator per pixel, so tiles, threads and batches cannot change a bit. What the envelope makes exactly 0, a
scatterer in a far tile or row, is not computed: adding it would change nothing.

Per scatterer, offsets are float64 once per row and column and rounded once; the envelope exp(-C r^2) is a row factor
times a column factor. Per pixel,

    angular:  sin^2(n theta/2 + phi1) = (1 - T_n(u)) / 2,  u = (dx cos a - dy sin a)/r = cos(theta + a),  a = 2 phi1/n
    radial:   sin^2(B r + phi2) = sin^2(pi t),  t = (B/pi) r + phi2/pi

and at r = 0 the angular factor is its mean. ``kernels_cuda/`` states the same operations in the same order.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.elementary import exp2_f32, exp2_f64, reciprocal_f32, sin2pi_f32, sin2pi_f64, sincospi_f64
from qpibench.arithmetic.ieee import fma, prefer_wide_vectors, sqrt
from qpibench.synthesis.draws import KernelDraws, draw_scatterers

TILE = 64
LOG2_E = 1.4426950408889634
PI = 3.141592653589793

_f32 = np.float32
_ALIGNMENT = 64

Coefficients = NDArray[np.float64]
"""(kernel, 5): cos a, sin a, B/pi, phi2/pi, -C log2(e)."""


def coefficients(draws: KernelDraws) -> Coefficients:
    """The five numbers per kernel that the pixel loops need, float64."""
    turn = 2.0 * draws.phi1 / (PI * np.maximum(draws.fold, 1))
    return np.column_stack([_sincospi(turn), draws.B / PI, draws.phi2 / PI, -draws.C * LOG2_E])


@nb.njit(cache=True)
def _sincospi(turn):  # type: ignore[no-untyped-def]
    table = np.empty((len(turn), 2))
    for k in range(len(turn)):
        table[k, 1], table[k, 0] = sincospi_f64(turn[k])
    return table


@nb.njit(inline="always")
def _angular(fold, c, s, r2, r):  # type: ignore[no-untyped-def]
    """sin^2(n theta/2 + phi1) at c = r cos(theta + a), s = r sin(theta + a); a quarter of it for fold 4."""
    if fold == 2:
        value = _f32(1) - c * c * reciprocal_f32(r2)
    elif fold == 3:
        u = c * reciprocal_f32(r)
        value = fma(-u, fma(_f32(2), u * u, _f32(-1.5)), _f32(0.5))
    elif fold == 4:
        v = c * c * reciprocal_f32(r2)
        value = fma(-v, v, v)
    else:
        # T_6 magnifies rounding ninefold where u^2 is near 1: take whichever component is the smaller there.
        c2 = c * c
        s2 = s * s
        steep = s2 < c2
        v = (s2 if steep else c2) * reciprocal_f32(r2)
        w = fma(_f32(-4), v, _f32(3))
        value = v * w * w
        value = value if steep else _f32(1) - value
    return value


@nb.njit(inline="always")
def _add(fold, row, dx2, xc, xs, ex, dy2, yc, ys, ey, freq, phase, centre):  # type: ignore[no-untyped-def]
    """Add one scatterer to one row of a tile."""
    for k in range(TILE):
        r2 = dx2[k] + dy2
        r = sqrt(r2)
        weight = ey * ex[k]
        if fold != 0:
            angular = _angular(fold, xc[k] - ys, xs[k] + yc, r2, r)
            if centre:
                # The mean of the angular factor, 1/2, in the units of _angular.
                mean = _f32(0.125) if fold == 4 else _f32(0.5)
                angular = mean if r2 == _f32(0) else angular
            weight = weight * angular
        row[k] = fma(weight, sin2pi_f32(fma(freq, r, phase)), row[k])


@nb.njit(inline="always")
def _superpose(fold, x, y, position, count, ca, sa, freq, phase, decay, image):  # type: ignore[no-untyped-def]
    prefer_wide_vectors()  # type: ignore[call-arg]
    ny, nx = image.shape
    freq = _f32(freq)
    phase = _f32(phase)
    decay = _f32(decay)
    gain = _f32(4) if fold == 4 else _f32(1)
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
                # Rounding keeps order: no pixel has a larger factor than the point of the tile that is nearest.
                dx = px - min(max(px, at[0]), at[TILE - 1])
                dy = py - min(max(py, at[TILE]), at[2 * TILE - 1])
                if exp2_f32(_f32(dx * dx) * decay) * exp2_f32(_f32(dy * dy) * decay) == _f32(0):
                    continue
                for k in range(TILE):
                    d = at[k] - px
                    d2[k] = _f32(d * d)
                    if fold != 0:
                        dc[k] = _f32(d * ca)
                    if fold == 6:
                        ds[k] = _f32(d * sa)
                for k in range(TILE, 2 * TILE):
                    d = at[k] - py
                    d2[k] = _f32(d * d)
                    if fold != 0:
                        ds[k] = _f32(d * sa)
                    if fold == 6:
                        dc[k] = _f32(d * ca)
                for k in range(2 * TILE):
                    envelope[k] = exp2_f32(d2[k] * decay)
                for k in range(rows):
                    row = TILE + k
                    ey = envelope[row] * gain
                    if ey == _f32(0):
                        continue
                    # r = 0 can only lie in a row with dy = 0: the other rows go without the selection.
                    if d2[row] == _f32(0):
                        _add(fold, tile[k], d2, dc, ds, envelope, d2[row], dc[row], ds[row], ey, freq, phase, True)
                    else:
                        _add(fold, tile[k], d2, dc, ds, envelope, d2[row], dc[row], ds[row], ey, freq, phase, False)
            for k in range(rows):
                for j in range(columns):
                    # A negative zero would tell whether zeros were added or left out.
                    image[top + k, left + j] = tile[k, j] + _f32(0)


# One compiled function per fold: with the fold a constant, its branches vanish and the pixel loop vectorises.
@nb.njit(nogil=True, cache=True, error_model="numpy")
def _superpose_0(x, y, position, count, ca, sa, freq, phase, decay, image):  # type: ignore[no-untyped-def]
    _superpose(0, x, y, position, count, ca, sa, freq, phase, decay, image)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _superpose_2(x, y, position, count, ca, sa, freq, phase, decay, image):  # type: ignore[no-untyped-def]
    _superpose(2, x, y, position, count, ca, sa, freq, phase, decay, image)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _superpose_3(x, y, position, count, ca, sa, freq, phase, decay, image):  # type: ignore[no-untyped-def]
    _superpose(3, x, y, position, count, ca, sa, freq, phase, decay, image)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _superpose_4(x, y, position, count, ca, sa, freq, phase, decay, image):  # type: ignore[no-untyped-def]
    _superpose(4, x, y, position, count, ca, sa, freq, phase, decay, image)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _superpose_6(x, y, position, count, ca, sa, freq, phase, decay, image):  # type: ignore[no-untyped-def]
    _superpose(6, x, y, position, count, ca, sa, freq, phase, decay, image)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def superpose(fold, x, y, position, count, ca, sa, freq, phase, decay, image):  # type: ignore[no-untyped-def]
    """Fill ``image`` (ny, nx) float32 with the superposition of ``count`` scatterers of one kernel.

    ``x`` (nx,) and ``y`` (ny,) are the pixel coordinates and ``position`` (scatterer, xy) the scatterers, in nm; the
    five numbers are a row of :data:`Coefficients`.
    """
    if fold == 0:
        _superpose_0(x, y, position, count, ca, sa, freq, phase, decay, image)
    elif fold == 2:
        _superpose_2(x, y, position, count, ca, sa, freq, phase, decay, image)
    elif fold == 3:
        _superpose_3(x, y, position, count, ca, sa, freq, phase, decay, image)
    elif fold == 4:
        _superpose_4(x, y, position, count, ca, sa, freq, phase, decay, image)
    else:
        _superpose_6(x, y, position, count, ca, sa, freq, phase, decay, image)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def draw_and_superpose(  # type: ignore[no-untyped-def]
    start,
    per_kernel,
    count_key,
    position_key,
    fewest,
    most,
    half_y,
    half_x,
    x,
    y,
    first_kernel,
    fold,
    table,
    n_scatterers,
    position,
    image,
):
    """Fill the rows of ``n_scatterers``, ``position`` and ``image`` with the observations from ``start`` on.

    The rows of ``fold`` and ``table`` are the kernels from ``first_kernel`` on.
    """
    for row in range(len(image)):
        kernel, index = divmod(start + row, per_kernel)
        count = draw_scatterers(index, kernel, count_key, position_key, fewest, most, half_y, half_x, position[row])
        n_scatterers[row] = count
        ca, sa, freq, phase, decay = table[kernel - first_kernel]
        superpose(fold[kernel - first_kernel], x, y, position[row], count, ca, sa, freq, phase, decay, image[row])


@nb.njit(nogil=True, cache=True, error_model="numpy")
def kernel_images(x, y, fold, table, image):  # type: ignore[no-untyped-def]
    """Fill ``image`` (kernel, y, x) float32 with single-scatterer images: float64 formulas, rounded once."""
    for kernel in range(len(image)):
        ca, sa, freq, phase, decay = table[kernel]
        n = fold[kernel]
        for iy in range(len(y)):
            for ix in range(len(x)):
                r2 = x[ix] * x[ix] + y[iy] * y[iy]
                r = sqrt(r2)
                c = x[ix] * ca - y[iy] * sa
                angular = 0.5
                if n == 0:
                    angular = 1.0
                elif r2 > 0.0 and n == 3:
                    u = c / r
                    angular = 0.5 - u * (2.0 * (u * u) - 1.5)
                elif r2 > 0.0:
                    v = c * c / r2
                    if n == 2:
                        angular = 1.0 - v
                    elif n == 4:
                        angular = 4.0 * (v - v * v)
                    else:
                        w = 4.0 * v - 3.0
                        angular = 1.0 - v * (w * w)
                radial = sin2pi_f64(fma(freq, r, phase))
                image[kernel, iy, ix] = _f32(exp2_f64(decay * r2) * angular * radial)
