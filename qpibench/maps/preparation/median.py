r"""Median denoising: medians over neighbouring points in a square.

$$\bar z(x, y) = \mathrm{median}_{|i|, |j| \le (n - 1) / 2}\; z(x + i, y + j)$$

over the measured points of the map, in pixels. The size is $n = \mathrm{round}(3 + 6\, s)$ at the strength $s$, and the
next larger number where that is even. Single wrong points disappear, and so do maxima of ripples narrower than half the
square.

Source: the denoising of arXiv:2506.05325, whose light and heavy are the strengths 0.3 and 0.7. At the edges of the map
that denoising repeats the last points; here only points in the map count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from qpibench.maps.measurement import Maps
from qpibench.maps.preparation import ChannelSettings, Found, changed
from qpibench.maps.smoothing import Strength, strength_number

KIND = "denoising"


class Settings(ChannelSettings):
    """Settings of the median denoising."""

    strength: Strength = Field(default="light", description="strength s, which sets the size: light, heavy or 0 to 1")
    size_px: int | None = Field(default=None, ge=3, le=31, description="odd size n in pixels instead of a strength")

    @field_validator("size_px")
    @classmethod
    def _odd(cls, size_px: int | None) -> int | None:
        if size_px is not None and size_px % 2 == 0:
            raise ValueError(f"{size_px} is even; choose {size_px - 1} or {size_px + 1}")
        return size_px


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Replace points of the chosen channels by medians; see :class:`qpibench.maps.preparation.Preparation`."""
    size_px = settings.size_px or round(3 + 6 * strength_number(settings.strength)) | 1
    return changed(maps, settings.channels, lambda layer: _medians(layer, size_px)), {"size_px": size_px}


def _medians(layer: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    from scipy.ndimage import median_filter, minimum_filter

    measured = np.isfinite(layer)
    medians: NDArray[np.float64] = median_filter(np.where(measured, layer, 0.0), size)
    # Squares that reach beyond the map or over points that were not measured have fewer points.
    partial = measured & ~minimum_filter(measured, size, mode="constant", cval=False)
    padded = np.pad(layer, size // 2, constant_values=np.nan)
    squares = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    for row in np.flatnonzero(partial.any(axis=1)):
        medians[row, partial[row]] = np.nanmedian(squares[row, partial[row]], axis=(-2, -1))
    return medians
