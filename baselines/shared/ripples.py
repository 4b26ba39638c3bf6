"""How fine the ripples of an image are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.noise import noise_level

SHARE = 0.9
"""Share of an image's power that coarser ripples than the finest have."""


@dataclass(frozen=True)
class Ripples:
    """Power of an image over the fineness of its ripples.

    Attributes
    ----------
    power
        (period,): power above that of white noise of ripples with so many periods along the shorter side of the field.
    """

    power: NDArray[np.float64]

    @staticmethod
    def of(image: NDArray[np.floating], height_nm: float, width_nm: float) -> Ripples:
        """The ripples of an image.

        Parameters
        ----------
        image
            (y, x), NaN where a pixel is not used.
        height_nm, width_nm
            Distances between the centres of the first and the last pixel along y and x.
        """
        used = np.isfinite(image)
        values = np.where(used, image - np.mean(image, where=used), 0.0)
        window = np.outer(*(np.hanning(count + 2)[1:-1] for count in image.shape))
        power = np.abs(np.fft.fft2(values * window)) ** 2 / (window**2).sum()
        noise = used.mean() * noise_level(image) ** 2
        side_nm = min(height_nm, width_nm)
        y, x = (
            np.fft.fftfreq(count, length / (count - 1)) * side_nm
            for count, length in zip(image.shape, (height_nm, width_nm), strict=True)
        )
        periods = np.rint(np.hypot(y[:, None], x)).astype(np.intp)
        return Ripples(np.bincount(periods.ravel(), (power - noise).ravel()).astype(np.float64))

    @property
    def finest(self) -> int:
        """Number of periods of ripples of which all but a tenth are coarser; 0 if there is nothing but noise."""
        coarser = np.cumsum(self.power)
        return int(np.argmax(coarser >= SHARE * coarser[-1])) if coarser[-1] > 0 else 0

    def strongest(self, above: float) -> int:
        """Number of periods of the strongest ripples that have more than so many."""
        first = int(above) + 1
        return first + int(np.argmax(self.power[first:]))
