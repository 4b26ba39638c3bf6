"""Scales of pictures: extents of pixels, lengths of scale bars, and values at the ends of colour maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Limits = tuple[float, float]
"""Values at the ends of an axis or of a colour map."""


def edges(centres: NDArray[np.float64]) -> Limits:
    """Return the outer edges of equally spaced pixels: half a pixel outside the first and the last centre."""
    half = (centres[1] - centres[0]) / 2
    return float(centres[0] - half), float(centres[-1] + half)


def round_down(value: float) -> float:
    """Return the largest number not above a positive value that is 1, 2 or 5 times a power of ten.

    Examples
    --------
    >>> round_down(3.3), round_down(0.19), round_down(1000)
    (2.0, 0.1, 1000.0)
    """
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(step * power for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)))


def bar_length(size_nm: float) -> float:
    """Return the length of the scale bar of a field: a round number of nm, at most a third of the field's width."""
    return round_down(size_nm / 3)


def value_limits(values: NDArray[Any]) -> Limits:
    """Return the smallest and the largest value; constant values get a range around them."""
    low, high = float(np.min(values)), float(np.max(values))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def symmetric_limits(values: NDArray[Any]) -> Limits:
    """Return limits symmetric about zero that contain every value."""
    largest = float(np.abs(values).max()) or 1.0
    return -largest, largest
