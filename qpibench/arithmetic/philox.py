"""Counter-based random words: Philox4x32-10 (Salmon et al., SC11, doi:10.1145/2063384.2063405).

A stream has a key (:func:`qpibench.arithmetic.streams.stream_key`), and its words have addresses (draw, image within
kernel, kernel). No word depends on others, so any part of a release can be computed alone and in any order.
"""

from __future__ import annotations

import numba as nb
import numpy as np

_u32 = np.uint32
_u64 = np.uint64
_MULTIPLIER_0, _MULTIPLIER_1 = _u64(0xD2511F53), _u64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = _u32(0x9E3779B9), _u32(0xBB67AE85)


@nb.njit(inline="always")
def philox4x32(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Ten rounds of Philox4x32: four uint32 words from a counter and a key of uint32 words."""
    for _ in range(10):
        p0 = _MULTIPLIER_0 * _u64(c0)
        p1 = _MULTIPLIER_1 * _u64(c2)
        c0, c1, c2, c3 = (
            _u32(_u32(p1 >> _u64(32)) ^ c1 ^ k0),
            _u32(p1),
            _u32(_u32(p0 >> _u64(32)) ^ c3 ^ k1),
            _u32(p0),
        )
        k0 = _u32(k0 + _WEYL_0)
        k1 = _u32(k1 + _WEYL_1)
    return c0, c1, c2, c3


@nb.njit(inline="always")
def words(key, draw, image, kernel):  # type: ignore[no-untyped-def]
    """Four uint32 words of a stream at (draw < 2^32, image within kernel < 2^32, kernel < 2^64)."""
    kernel = _u64(kernel)
    return philox4x32(
        _u32(draw),
        _u32(image),
        _u32(kernel & _u64(0xFFFFFFFF)),
        _u32(kernel >> _u64(32)),
        _u32(key & _u64(0xFFFFFFFF)),
        _u32(key >> _u64(32)),
    )


@nb.njit(inline="always")
def unit(word):  # type: ignore[no-untyped-def]
    """A uint32 word as a float64 in (0, 1): (word + 1/2) 2^-32, exact."""
    return (np.float64(word) + 0.5) * 2.0**-32


@nb.njit(inline="always")
def integer_between(word, low, high):  # type: ignore[no-untyped-def]
    """A uint32 word as an integer in low..high, both included."""
    return low + np.int64((_u64(word) * _u64(high - low + 1)) >> _u64(32))


@nb.njit(inline="always")
def random_order(key, image, kernel, n):  # type: ignore[no-untyped-def]
    """The numbers 0 to n - 1, n < 2^32, in a random order: sorted by words of a stream, and of equal words by number.

    The words of draw q are those of the numbers 4q to 4q + 3.
    """
    keys = np.empty(n, np.uint64)
    for first in range(0, n, 4):
        drawn = words(key, first // 4, image, kernel)
        for k in range(min(4, n - first)):
            keys[first + k] = (_u64(drawn[k]) << _u64(32)) | _u64(first + k)
    return (np.sort(keys) & _u64(0xFFFFFFFF)).astype(np.int64)
