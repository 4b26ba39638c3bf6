"""Complex Fourier transform in float64 with defined bits.

Radix 2 in the order of Stockham, in which every stage reads and writes whole rows and no reordering remains. Twiddle
factors are sines and cosines of :mod:`qpibench.arithmetic.elementary`. Sums run in a written order, so the bits depend
on neither the processor nor the number of transforms made together.
"""

from __future__ import annotations

import numpy as np

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import sincospi_f64
from qpibench.arithmetic.ieee import fma


@compiled(nogil=True, error_model="numpy")
def circle(length):  # type: ignore[no-untyped-def]
    """Cosines and sines of the angles 2 pi k/length, (length, 2) float64; the length is a power of two."""
    table = np.empty((length, 2))
    for k in range(length):
        table[k, 1], table[k, 0] = sincospi_f64(2.0 * k / length)
    return table


@compiled(nogil=True, error_model="numpy")
def inverse_transforms(turns, real, imag, spare_real, spare_imag):  # type: ignore[no-untyped-def]
    """Replace columns by their sums x_n = sum_k X_k exp(+2 pi i n k/length), without a factor.

    Parameters
    ----------
    turns
        The table of :func:`circle` for this length.
    real, imag
        (length, transform) float64: real and imaginary parts, replaced in place; the length is a power of two.
    spare_real, spare_imag
        Work arrays of the same shape.
    """
    length, columns = real.shape
    half = length // 2
    from_real, from_imag = real.reshape(length * columns), imag.reshape(length * columns)
    to_real, to_imag = spare_real.reshape(length * columns), spare_imag.reshape(length * columns)
    far = half * columns
    blocks, block = half, columns
    is_spare = False
    while blocks > 0:
        for place in range(blocks):
            cosine = turns[place * (half // blocks), 0]
            sine = turns[place * (half // blocks), 1]
            source = place * block
            target = 2 * place * block
            for k in range(block):
                a, b = from_real[source + k], from_imag[source + k]
                c, d = from_real[source + far + k], from_imag[source + far + k]
                to_real[target + k] = a + c
                to_imag[target + k] = b + d
                p = a - c
                q = b - d
                to_real[target + block + k] = fma(p, cosine, -(q * sine))
                to_imag[target + block + k] = fma(p, sine, q * cosine)
        from_real, from_imag, to_real, to_imag = to_real, to_imag, from_real, from_imag
        is_spare = not is_spare
        blocks //= 2
        block *= 2
    if is_spare:
        for n in range(length):
            for k in range(columns):
                real[n, k] = spare_real[n, k]
                imag[n, k] = spare_imag[n, k]
