"""Density of states at the sites of a lattice around several scatterers, with defined bits."""

from __future__ import annotations

import numba as nb
import numpy as np

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.ieee import fma, rint
from qpibench.arithmetic.scattering import LANES, add_pairs, pair_weights, scattering_matrix


@compiled(nogil=True, error_model="numpy")
def nearest_sites(vectors, origin, position):  # type: ignore[no-untyped-def]
    """Indices m and n, (point, 2) int64, of the sites nearest to points (point, xy).

    ``vectors`` (2, xy) are a1 and a2, and ``origin`` (xy,) is the position of a site.
    """
    area = vectors[0, 0] * vectors[1, 1] - vectors[0, 1] * vectors[1, 0]
    sites = np.empty((len(position), 2), np.int64)
    for i in range(len(position)):
        x, y = position[i, 0] - origin[0], position[i, 1] - origin[1]
        sites[i, 0] = np.int64(rint((x * vectors[1, 1] - y * vectors[1, 0]) / area))
        sites[i, 1] = np.int64(rint((y * vectors[0, 0] - x * vectors[0, 1]) / area))
    return sites


@compiled(nogil=True, error_model="numpy")
def density_change_of_many(green, potential, amplitude, sites, first, shape):  # type: ignore[no-untyped-def]
    """Relative change of the density of states at sites around several scatterers.

    dN(R)/N0 = Im[sum_ij G(R - R_i) M_ij G(R_j - R)] / Im G(0), with M of
    :func:`qpibench.arithmetic.scattering.scattering_matrix` for t_i = a_i V/(1 - V G(0)).

    Parameters
    ----------
    green
        Array of :func:`qpibench.arithmetic.lattice.green_function`; G is 0 beyond its reach.
    potential
        Energy V by which a scatterer raises the level of its site.
    amplitude
        (scatterer,) float32: factor a_i of the T-matrix of each scatterer.
    sites
        (scatterer, 2) int64: indices m and n of the scatterers' sites.
    first, shape
        First m and n, and numbers of m and n, of the sites of the result.

    Returns
    -------
    ndarray
        (n, m) float64.
    """
    count, reach = len(sites), len(green) - 1
    # V/(1 - V G(0)) = V (1 - V conj G(0)) / |1 - V G(0)|^2
    a, b = 1.0 - potential * green[0, reach, 0], -(potential * green[0, reach, 1])
    scale = potential / fma(a, a, b * b)
    single = np.empty((count, 2))
    between = np.zeros((count, count, 2))
    for i in range(count):
        single[i, 0] = np.float64(amplitude[i]) * (scale * a)
        single[i, 1] = np.float64(amplitude[i]) * -(scale * b)
        for j in range(count):
            between[i, j, 0], between[i, j, 1] = _green(green, sites[i, 0] - sites[j, 0], sites[i, 1] - sites[j, 1])
    weights = pair_weights(scattering_matrix(single, between))
    for i in range(count):
        for j in range(i + 1):  # Re(-i z) is Im(z)
            weights[i, j, 0], weights[i, j, 1] = weights[i, j, 1], -weights[i, j, 0]
    change = np.empty((shape[1], shape[0]))
    real, imag = np.zeros((count, LANES)), np.zeros((count, LANES))
    total = np.empty(LANES)
    for row in range(shape[1]):
        for left in range(0, shape[0], LANES):
            width = min(LANES, shape[0] - left)
            for i in range(count):
                n = first[1] + row - sites[i, 1]
                for point in range(width):
                    real[i, point], imag[i, point] = _green(green, first[0] + left + point - sites[i, 0], n)
            total[:] = 0.0
            add_pairs(weights, 0, real, imag, total)
            for point in range(width):
                change[row, left + point] = total[point] / green[0, reach, 1]
    return change


@nb.njit(inline="always")
def _green(green, m, n):  # type: ignore[no-untyped-def]
    """Real and imaginary part of G between sites that are (m, n) apart."""
    reach = len(green) - 1
    if n < 0:
        m, n = -m, -n
    if n > reach or abs(m) > reach:
        return 0.0, 0.0
    return green[n, m + reach, 0], green[n, m + reach, 1]
