"""Fourier transforms of images for pictures: wavevectors, the logarithm of the modulus, and the ends of its scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from qpibench.pages.scales import Limits

DECADES = 4
"""Dynamic range of a log |FFT| panel, at most."""

_LEAST_DECADES = 0.5
_LEAST_QUANTILE = 0.02  # of log |FFT|: single zeros of a spectrum do not stretch its scale


def wavevectors(n: int, pitch_nm: float) -> NDArray[np.float64]:
    """Return the wavevectors of a discrete Fourier transform in rad/nm, 2 pi included, ascending; shape (n,)."""
    return 2 * np.pi * np.fft.fftshift(np.fft.fftfreq(n, pitch_nm))


def spectrum(image: NDArray[Any], grid: Grid, *, hann: bool = False) -> NDArray[np.float64]:
    """Return log10 of the modulus of an image's Fourier integral, zero wavevector in the middle.

    The sum over pixels is multiplied by the area of a pixel, so it does not depend on the sampling. An exact zero
    becomes the logarithm of the smallest normal number.

    Parameters
    ----------
    image
        (y, x) array on ``grid``, native units.
    hann
        Whether the mean is removed and the image multiplied by a Hann window of mean 1 along x and along y, so that
        the edges of the field leave no cross in the spectrum. The mean is the one under the window: the transform at
        zero wavevector is then 0. Without it, the transform is that of the image itself.

    Returns
    -------
    ndarray
        (y, x) float64: log10 of native units times nm^2.
    """
    values = np.asarray(image, dtype=np.float64)
    if hann:
        window = _hann(grid.ny)[:, np.newaxis] * _hann(grid.nx)
        values = window * (values - np.average(values, weights=window))
    modulus = np.abs(np.fft.fftshift(np.fft.fft2(values)))
    return np.log10(np.maximum(modulus * grid.pitch_x_nm * grid.pitch_y_nm, np.finfo(np.float64).tiny))


def _hann(n: int) -> NDArray[np.float64]:
    """A Hann window of mean 1 that is 0 just outside the first and the last of n pixels."""
    window: NDArray[np.float64] = np.hanning(n + 2)[1:-1]
    window /= window.mean()
    return window


def spectrum_limits(image: NDArray[Any], grid: Grid, *, hann: bool = False) -> Limits:
    """Return the limits of log10 |FFT| for an image and those that share its scale, in tenths of a decade.

    The upper limit is the largest value. The lower limit is the 2 % quantile, at least half a decade and at most four
    decades below the upper one.
    """
    transform = spectrum(image, grid, hann=hann)
    top = float(np.ceil(10 * transform.max())) / 10
    low = float(np.floor(10 * np.quantile(transform, _LEAST_QUANTILE))) / 10
    return min(max(low, top - DECADES), top - _LEAST_DECADES), top
