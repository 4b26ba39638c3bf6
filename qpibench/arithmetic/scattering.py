"""Multiple scattering between point scatterers, with defined bits: the T-matrix of several, and sums over pairs.

With the T-matrices t_i of the single scatterers and the Green functions G_ij between them (G_ii = 0), a wave that meets
scatterer j first and leaves scatterer i last has the amplitude M_ij of the matrix

    M = t + t G t + t G t G t + ... = (1 - t G)^-1 t

(L. L. Foldy, Phys. Rev. 67, 107 (1945); M. Lax, Rev. Mod. Phys. 23, 287 (1951)). Complex numbers are pairs of float64
in the last axis. All sums run in the order of the scatterers.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.ieee import fma

LANES = 64
"""Points whose pairs of scatterers are summed together; their number changes no bit."""


@compiled(nogil=True, error_model="numpy")
def scattering_matrix(single, between):  # type: ignore[no-untyped-def]
    """The matrix M = (1 - t G)^-1 t, by LU decomposition with partial pivoting.

    The pivot of a column is the element of the largest |real| + |imaginary part|, the first of equal ones.

    Parameters
    ----------
    single
        (scatterer, 2) float64: t_i.
    between
        (scatterer, scatterer, 2) float64: G_ij; the diagonal is not read.

    Returns
    -------
    ndarray
        (scatterer, scatterer, 2) float64.
    """
    count = len(single)
    left = np.empty((count, count, 2))
    found = np.zeros((count, count, 2))
    for i in range(count):
        for j in range(count):
            real, imag = _times(single[i, 0], single[i, 1], between[i, j, 0], between[i, j, 1])
            left[i, j, 0] = 1.0 if i == j else -real
            left[i, j, 1] = 0.0 if i == j else -imag
        found[i, i] = single[i]
    for k in range(count):
        best, largest = k, -1.0
        for i in range(k, count):
            size = abs(left[i, k, 0]) + abs(left[i, k, 1])
            if size > largest:
                best, largest = i, size
        if best != k:
            for j in range(count):
                for part in range(2):
                    left[k, j, part], left[best, j, part] = left[best, j, part], left[k, j, part]
                    found[k, j, part], found[best, j, part] = found[best, j, part], found[k, j, part]
        scale = fma(left[k, k, 0], left[k, k, 0], left[k, k, 1] * left[k, k, 1])
        inverse_real, inverse_imag = left[k, k, 0] / scale, -(left[k, k, 1] / scale)
        left[k, k, 0], left[k, k, 1] = inverse_real, inverse_imag
        for i in range(k + 1, count):
            real, imag = _times(left[i, k, 0], left[i, k, 1], inverse_real, inverse_imag)
            for j in range(k + 1, count):
                _subtract(left, i, j, real, imag, left[k, j, 0], left[k, j, 1])
            for j in range(count):
                _subtract(found, i, j, real, imag, found[k, j, 0], found[k, j, 1])
    for i in range(count - 1, -1, -1):
        for j in range(count):
            for k in range(i + 1, count):
                _subtract(found, i, j, left[i, k, 0], left[i, k, 1], found[k, j, 0], found[k, j, 1])
            real, imag = _times(found[i, j, 0], found[i, j, 1], left[i, i, 0], left[i, i, 1])
            found[i, j, 0], found[i, j, 1] = real, imag
    return found


@compiled(nogil=True, error_model="numpy")
def pair_weights(matrix):  # type: ignore[no-untyped-def]
    """Weights of :func:`add_pairs`: M_ij + M_ji for j < i and M_ii, (scatterer, scatterer, 2); the rest is 0."""
    weights = np.zeros(matrix.shape)
    for i in range(len(matrix)):
        for part in range(2):
            weights[i, i, part] = matrix[i, i, part]
            for j in range(i):
                weights[i, j, part] = matrix[i, j, part] + matrix[j, i, part]
    return weights


@nb.njit(inline="always")
def add_pairs(weights, nearest, real, imag, total):  # type: ignore[no-untyped-def]
    """Add Re(sum_i g_i sum_j w_ij g_j), j <= i - nearest, to ``total`` (point,).

    Parameters
    ----------
    weights
        (scatterer, scatterer, 2) float64.
    nearest
        0 to include the pairs of a scatterer with itself, 1 to leave them out.
    real, imag
        (scatterer, point) float64: the waves g_i at `LANES` points.
    total
        (point,) float64.
    """
    sum_real, sum_imag = np.empty(LANES), np.empty(LANES)
    for i in range(len(weights)):
        sum_real[:] = 0.0
        sum_imag[:] = 0.0
        for j in range(i + 1 - nearest):
            a, b = weights[i, j, 0], weights[i, j, 1]
            g, h = real[j], imag[j]
            for point in range(LANES):
                sum_real[point] = fma(a, g[point], fma(-b, h[point], sum_real[point]))
                sum_imag[point] = fma(a, h[point], fma(b, g[point], sum_imag[point]))
        g, h = real[i], imag[i]
        for point in range(LANES):
            total[point] = fma(g[point], sum_real[point], fma(-h[point], sum_imag[point], total[point]))


@nb.njit(inline="always")
def _times(a, b, c, d):  # type: ignore[no-untyped-def]
    """(a + i b)(c + i d)."""
    return fma(a, c, -(b * d)), fma(a, d, b * c)


@nb.njit(inline="always")
def _subtract(matrix, i, j, a, b, c, d):  # type: ignore[no-untyped-def]
    """Subtract (a + i b)(c + i d) from an element."""
    matrix[i, j, 0] = fma(-a, c, fma(b, d, matrix[i, j, 0]))
    matrix[i, j, 1] = fma(-a, d, fma(-b, c, matrix[i, j, 1]))
