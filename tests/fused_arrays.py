"""Fused multiply-adds of whole arrays, rounded once, from sums and products whose errors are exact."""

import numpy as np


def fma64(a, b, c):
    """a * b + c in float64, by the algorithm of Boldo and Melquiond, IEEE Trans. Comput. 57, 462 (2008)."""
    a, b, c = (np.asarray(each, np.float64) for each in (a, b, c))
    high, low = _product(a, b)
    upper, lower = _sum(c, low)
    total, rest = _sum(high, upper)
    return total + _rounded_to_odd(lower, rest)


def fma32(a, b, c):
    """a * b + c in float32, from float32; the product is exact in float64."""
    a, b, c = (np.asarray(each, np.float64) for each in (a, b, c))
    return _rounded_to_odd(a * b, c).astype(np.float32)


def _sum(a, b):
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _split(a):
    scaled = a * (2.0**27 + 1)
    high = scaled - (scaled - a)
    return high, a - high


def _product(a, b):
    total = a * b
    (a1, a2), (b1, b2) = _split(a), _split(b)
    return total, a2 * b2 - (((total - a1 * b1) - a2 * b1) - a1 * b2)


def _rounded_to_odd(a, b):
    """a + b, rounded towards zero with the last bit set, unless it is exact."""
    total, error = _sum(a, b)
    bits = np.atleast_1d(total).copy().view(np.int64)
    moved = (error != 0) & (bits & 1 == 0)
    bits += np.where(moved, np.where((error > 0) == (total > 0), 1, -1), 0)
    return bits.view(np.float64).reshape(np.shape(total))
