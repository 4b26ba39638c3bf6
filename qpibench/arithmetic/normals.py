"""Normal random numbers in float32, by Box-Muller; ``docs/arithmetic.md`` defines their bits.

``kernels_cuda/normals.cuh`` states the same operations in the same order.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.elementary import minus2ln_f32, sincospi_f32
from qpibench.arithmetic.ieee import bits_of_f32, f32_of_bits, fma, sqrt

_f32 = np.float32
_BELOW_ONE = _f32(1 - 2.0**-24)
_SIGN = np.uint32(0x80000000)
_SWAP = np.uint32(0x40000000)


@nb.njit(inline="always")
def normal_pair(radius_word, angle_word):  # type: ignore[no-untyped-def]
    """Two independent normal numbers in float32 out of two uint32 words."""
    # (word + 1/2) 2^-32, kept below 1 after rounding.
    u = fma(_f32(radius_word), _f32(2.0**-32), _f32(2.0**-33))
    u = u if u < _f32(1) else _BELOW_ONE
    radius = sqrt(minus2ln_f32(u))
    # The low thirty bits are an angle within an eighth of a turn of the first axis; the other two choose the axis.
    sine, cosine = sincospi_f32(_f32(nb.int32(angle_word << np.uint32(2))) * _f32(2.0**-33))
    across = radius * sine
    along = f32_of_bits(nb.int32(bits_of_f32(radius * cosine) ^ nb.int32(angle_word & _SIGN)))
    swapped = (angle_word & _SWAP) != np.uint32(0)
    return (across if swapped else along), (along if swapped else across)


@nb.njit(inline="always")
def normal_quad(drawn):  # type: ignore[no-untyped-def]
    """Four independent normal numbers in float32 out of the four words of a draw."""
    first, second = normal_pair(drawn[0], drawn[1])
    third, fourth = normal_pair(drawn[2], drawn[3])
    return first, second, third, fourth


def reference_normal_pair(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Two independent normal numbers out of two random words, by Box-Muller.

    The first word w gives u = (w + 1/2) 2^-32 and the radius sqrt(-2 ln u), at most 6.76. The low thirty bits of the
    second word are an angle within an eighth of a turn of an axis. Its bit 30 chooses the axis, and its bit 31 the
    direction along the axis.

    Parameters
    ----------
    words
        (..., 2) uint32.

    Returns
    -------
    ndarray
        (..., 2) float64.
    """
    radius = np.sqrt(-2 * np.log((words[..., 0] + 0.5) * 2.0**-32))
    angle_word = words[..., 1]
    angle = 2 * np.pi * (angle_word << np.uint32(2)).view(np.int32) * 2.0**-34
    along = radius * np.cos(angle) * np.where(angle_word >> 31, -1, 1)
    across = radius * np.sin(angle)
    pair = np.stack([along, across], axis=-1)
    return np.where((angle_word >> 30 & 1)[..., None], pair[..., ::-1], pair)
