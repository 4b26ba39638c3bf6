"""A function of the distance r, averaged over a Gaussian and looked up at the points of a lattice, with defined bits.

The mean of f(r) over a round Gaussian of standard deviation s around a point at the distance R from the origin is

    F(R) = integral over r > 0 of  f(r) (r/s^2) exp(-(r - R)^2/(2 s^2)) I(r R/s^2) dr,   I(x) = exp(-x) I0(x).

f may have a logarithmic singularity at r = 0. The integral is a trapezoidal sum: far from the origin with nodes at
equal distances, near the origin with nodes r = s 2^(j/16), which resolve the singularity. F is known at the distances
``i step``; between them it is the polynomial of degree 7 through the eight nearest.
"""

from __future__ import annotations

from fractions import Fraction

import numba as nb
import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.bessel import i0e_f64
from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import LN2, exp2_f64
from qpibench.arithmetic.ieee import fma, sqrt
from qpibench.arithmetic.superposition import LOG2_E

CORE_WIDTHS = 10
"""Within so many standard deviations of the origin the nodes are r = s 2^(j/16)."""

TAIL_WIDTHS = 7
"""The Gaussian is cut off at so many standard deviations; it is then below 3e-11 of its peak."""

PER_OCTAVE = 16
FIRST, LAST = -24 * PER_OCTAVE, 5 * PER_OCTAVE
"""Exponents j of the nodes near the origin."""

PIECE = 8
"""Coefficients of a polynomial piece."""


def core_nodes() -> NDArray[np.float64]:
    """The nodes near the origin in standard deviations, ascending."""
    nodes: NDArray[np.float64] = _powers(np.arange(FIRST, LAST + 1) / PER_OCTAVE)
    return nodes


@compiled(nogil=True)
def _powers(exponent):  # type: ignore[no-untyped-def]
    nodes = np.empty(len(exponent))
    for j in range(len(exponent)):
        nodes[j] = exp2_f64(exponent[j])
    return nodes


def average(core: NDArray[np.float64], ring: NDArray[np.float64], per_width: int, count: int) -> NDArray[np.float64]:
    """Average a function of the distance over a round Gaussian.

    Parameters
    ----------
    core
        The function at :func:`core_nodes`.
    ring
        The function at ``i / per_width`` standard deviations for i from 0; the first value is not read. At least
        ``ring_length(per_width, count)`` values.
    per_width
        Steps in a standard deviation, at least 8.
    count
        Number of results.

    Returns
    -------
    ndarray
        (count,) float64: the means at ``i / per_width`` standard deviations from the origin.
    """
    means: NDArray[np.float64] = _average(core_nodes(), core, ring, per_width, count)
    return means


def ring_length(per_width: int, count: int) -> int:
    """How many values on the ring :func:`average` needs."""
    return count + (TAIL_WIDTHS + 1) * per_width


@compiled(nogil=True, error_model="numpy")
def _average(nodes, core, ring, per_width, count):  # type: ignore[no-untyped-def]
    means = np.empty(count)
    near = min(count, CORE_WIDTHS * per_width)
    for i in range(near):
        centre = i / per_width
        total = 0.0
        for j in range(len(nodes)):
            r = nodes[j]
            d = r - centre
            if d * d > TAIL_WIDTHS * TAIL_WIDTHS:
                continue
            # dr = r ln(2)/16 dj
            total += core[j] * (r * r) * exp2_f64((-0.5 * LOG2_E) * (d * d)) * i0e_f64(r * centre)
        means[i] = total * (LN2 / PER_OCTAVE)
    # The nodes of the rings are at most half a standard deviation apart.
    stride = per_width // 2
    reach = -((-TAIL_WIDTHS * per_width) // stride)
    gauss = np.empty(2 * reach + 1)
    for j in range(-reach, reach + 1):
        d = j * stride / per_width
        gauss[reach + j] = exp2_f64((-0.5 * LOG2_E) * (d * d)) * (stride / per_width)
    for i in range(near, count):
        centre = i / per_width
        total = 0.0
        for j in range(-reach, reach + 1):
            k = i + j * stride
            r = k / per_width
            total += ring[k] * r * gauss[reach + j] * i0e_f64(r * centre)
        means[i] = total
    return means


def _piece_matrix() -> NDArray[np.float64]:
    """Coefficients (power, node) of the polynomial in t - 1/2 through values at t = -3 to 4, exact and rounded once."""
    at = [Fraction(2 * k - 7, 2) for k in range(PIECE)]
    matrix = np.empty((PIECE, PIECE))
    for node in range(PIECE):
        product = [Fraction(1)]
        for other in range(PIECE):
            if other != node:
                scale = at[node] - at[other]
                raised = [Fraction(0), *product]
                for power, factor in enumerate(product):
                    raised[power] -= at[other] * factor
                product = [factor / scale for factor in raised]
        matrix[:, node] = [float(factor) for factor in product]
    return matrix


_PIECES = _piece_matrix()


def pieces(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Polynomial pieces (interval, 8) between the means of :func:`average`; the last four intervals are left out."""
    polynomials: NDArray[np.float64] = _pieces(_PIECES, means)
    return polynomials


@compiled(nogil=True, error_model="numpy")
def _pieces(matrix, means):  # type: ignore[no-untyped-def]
    polynomials = np.empty((len(means) - 4, PIECE))
    for i in range(len(polynomials)):
        for power in range(PIECE):
            total = 0.0
            for node in range(PIECE):
                total = fma(matrix[power, node], means[abs(i + node - 3)], total)  # F is even
            polynomials[i, power] = total
    return polynomials


@nb.njit(inline="always")
def _value(polynomials, position):  # type: ignore[no-untyped-def]
    """F at a distance in steps."""
    i = np.int64(position)
    t = position - np.float64(i) - 0.5
    total = polynomials[i, PIECE - 1]
    for power in range(PIECE - 2, -1, -1):
        total = fma(total, t, polynomials[i, power])
    return total


@compiled(nogil=True, error_model="numpy")
def fill_round(polynomials, dx, dy, image):  # type: ignore[no-untyped-def]
    """Fill ``image`` (dy, dx) float64 with F; ``dx`` and ``dy`` are offsets in steps."""
    for row in range(len(dy)):
        y2 = dy[row] * dy[row]
        for column in range(len(dx)):
            image[row, column] = _value(polynomials, sqrt(dx[column] * dx[column] + y2))


@compiled(nogil=True, error_model="numpy")
def fill_elliptic(polynomials, axes, shift, weight, dx, dy, image):  # type: ignore[no-untyped-def]
    """Fill ``image`` (dy, dx) float64 with means of F over points on a line.

    An offset has the coordinates u = axes[0] dx + axes[1] dy and v = axes[2] dx + axes[3] dy, in steps. The result is
    ``weight[0]`` F(u, v) plus the sum of ``weight[j]`` (F(u, v + shift[j]) + F(u, v - shift[j])) for j from 1. Opposite
    offsets have the same bits, so that only one of them is computed where the lattice has both.
    """
    ny, nx = image.shape
    opposite = True
    for row in range(ny):
        opposite = opposite and dy[row] == -dy[ny - 1 - row]
    for column in range(nx):
        opposite = opposite and dx[column] == -dx[nx - 1 - column]
    for row in range(ny):
        if opposite and 2 * row >= ny:
            for column in range(nx):
                image[row, column] = image[ny - 1 - row, nx - 1 - column]
            continue
        for column in range(nx):
            u = axes[0] * dx[column] + axes[1] * dy[row]
            v = axes[2] * dx[column] + axes[3] * dy[row]
            u2 = u * u
            total = weight[0] * _value(polynomials, sqrt(u2 + v * v))
            for j in range(1, len(shift)):
                above = v + shift[j]
                below = v - shift[j]
                pair = _value(polynomials, sqrt(u2 + above * above)) + _value(polynomials, sqrt(u2 + below * below))
                total += weight[j] * pair
            image[row, column] = total


@compiled(nogil=True, error_model="numpy")
def gaussian_line(width, spacing):  # type: ignore[no-untyped-def]
    """Points of a trapezoidal sum over a Gaussian on a line: distances from its centre from 0 on, and weights.

    ``width`` is the standard deviation. The weights of all points, on both sides, add up to 1. The Gaussian is cut off
    at six standard deviations.
    """
    count = np.int64(6.0 * width / spacing) + 2
    shift = np.empty(count)
    weight = np.empty(count)
    total = 0.0
    for j in range(count):
        shift[j] = j * spacing
        d = shift[j] / width
        weight[j] = exp2_f64((-0.5 * LOG2_E) * (d * d))
        total += weight[j] if j == 0 else 2.0 * weight[j]
    for j in range(count):
        weight[j] = weight[j] / total
    return shift, weight
