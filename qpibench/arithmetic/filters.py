"""Separable symmetric filters of images, in float64 and a written order.

``kernels_cuda/filters.cuh`` states the same operations in the same order.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from qpibench.arithmetic.ieee import fma, prefer_wide_vectors

SPLINE_REACH = 12
"""Weights of :func:`spline_weights` on each side; those left out are below 3e-7 of the largest together."""

_ROOT_3 = 1.7320508075688772


@nb.njit
def filter_image(along_y, along_x, source, target):  # type: ignore[no-untyped-def]
    """Fill ``target`` (ny, nx) float32 with ``source`` filtered along y, then along x, and rounded once.

    ``along_y`` and ``along_x`` (border + 1,) float64 are the weights of the offsets 0, 1, ..., and of their opposites.
    ``source`` (ny + 2 border, nx + 2 border) float32 has the border on every side.
    """
    prefer_wide_vectors()  # type: ignore[call-arg]
    ny, nx = target.shape
    border = len(along_x) - 1
    column = np.empty(nx + 2 * border, np.float64)
    total = np.empty(nx, np.float64)
    for iy in range(ny):
        column[:] = 0.0
        for j in range(2 * border + 1):
            weight = along_y[abs(j - border)]
            line = source[iy + j]
            for ix in range(len(column)):
                column[ix] = fma(weight, np.float64(line[ix]), column[ix])
        total[:] = 0.0
        for j in range(2 * border + 1):
            weight = along_x[abs(j - border)]
            for ix in range(nx):
                total[ix] = fma(weight, column[ix + j], total[ix])
        for ix in range(nx):
            target[iy, ix] = np.float32(total[ix])


@nb.njit
def spline_weights():  # type: ignore[no-untyped-def]
    """Weights (``SPLINE_REACH`` + 1,) that give the coefficients of the interpolating cubic B-spline of samples.

    The inverse of the filter (1/6, 2/3, 1/6) is sqrt(3) a^|k| with a = sqrt(3) - 2; see Unser, IEEE Signal Process.
    Mag. 16, 22 (1999), doi:10.1109/79.799930.
    """
    weights = np.empty(SPLINE_REACH + 1, np.float64)
    weights[0] = _ROOT_3
    for k in range(SPLINE_REACH):
        weights[k + 1] = weights[k] * (_ROOT_3 - 2.0)
    return weights


@nb.njit(inline="always")
def spline_value(coefficients, y, x):  # type: ignore[no-untyped-def]
    """Value, float64, of a cubic B-spline at row ``y`` and column ``x``, float64, at least one from the edges."""
    iy = np.int64(y)
    ix = np.int64(x)
    y0, y1, y2, y3 = _spline_basis(y - np.float64(iy))
    x0, x1, x2, x3 = _spline_basis(x - np.float64(ix))
    total = y0 * _spline_line(coefficients[iy - 1], ix, x0, x1, x2, x3)
    total = fma(y1, _spline_line(coefficients[iy], ix, x0, x1, x2, x3), total)
    total = fma(y2, _spline_line(coefficients[iy + 1], ix, x0, x1, x2, x3), total)
    return fma(y3, _spline_line(coefficients[iy + 2], ix, x0, x1, x2, x3), total)


@nb.njit(inline="always")
def _spline_line(line, ix, x0, x1, x2, x3):  # type: ignore[no-untyped-def]
    total = x0 * np.float64(line[ix - 1])
    total = fma(x1, np.float64(line[ix]), total)
    total = fma(x2, np.float64(line[ix + 1]), total)
    return fma(x3, np.float64(line[ix + 2]), total)


@nb.njit(inline="always")
def _spline_basis(f):  # type: ignore[no-untyped-def]
    """The four cubic B-splines that are not 0 at the fraction ``f`` between two samples."""
    g = 1.0 - f
    sixth = 1.0 / 6.0
    return (
        g * g * g * sixth,
        fma(f * f, fma(0.5, f, -1.0), 2.0 / 3.0),
        fma(g * g, fma(0.5, g, -1.0), 2.0 / 3.0),
        f * f * f * sixth,
    )
