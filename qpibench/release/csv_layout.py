"""The CSV layout of the published scatterer data set: one file for each kernel.

======  =======================================================================================
row     columns
======  =======================================================================================
1       resolution n, largest number of scatterers m
2       n pixel coordinates in Angstrom, the same along x and y
3       n*n values of the kernel, then 2*m scatterer coordinates: the kernel's own at (0, 0)
4...    n*n values of an image, then 2*m scatterer coordinates x1, y1, x2, y2, ... in Angstrom
======  =======================================================================================

A coordinate of 1000 stands for "no scatterer". Two data sets are published in this layout: 64 pixels on 400 Angstrom
with up to 20 scatterers, and 64 pixels on 100 Angstrom with up to 100. They do not state which of x and y runs slowest
in the n*n values.

Angstrom become nanometres in the decimal text, where the factor of ten is exact; a float64 would not survive it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

AxisOrder = Literal["x_first", "y_first"]
"""Which coordinate of an image runs slowest: in ``"x_first"`` order, neighbouring values are neighbours along y."""

UNUSED_ANGSTROM = 1000.0
UNUSED_NM = UNUSED_ANGSTROM / 10


def nanometres(angstrom: str) -> float:
    """Read a length in Angstrom: the float64 nearest to a tenth of it.

    Raises
    ------
    ValueError
        If the text is not a number.
    """
    mantissa, _, exponent = angstrom.strip().lower().partition("e")
    return float(f"{mantissa}e{int(exponent or 0) - 1}")


def angstrom(nm: float) -> str:
    """Write a length so that :func:`nanometres` reads the same float64."""
    return format(Decimal(repr(float(nm))).scaleb(1), "f")
