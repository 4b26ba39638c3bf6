"""White noise at a given signal-to-noise ratio.

The ratio is that of variances, in dB: 10 log10(var(clean image) / noise variance), the variance of an image being that
of its pixels about their mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def noise_sigma(clean: NDArray[np.floating], snr_db: ArrayLike) -> NDArray[np.float64]:
    """Standard deviation of the noise that gives an image a signal-to-noise ratio.

    Parameters
    ----------
    clean
        (..., y, x) images.
    snr_db
        (...) ratios in dB.

    Returns
    -------
    ndarray
        (...) float64: sqrt(var(clean) 10^(-snr_db / 10)), 0 for an image without contrast.
    """
    variance = np.var(np.asarray(clean, np.float64), axis=(-2, -1))
    sigma: NDArray[np.float64] = np.sqrt(variance * 10 ** (-np.asarray(snr_db) / 10))
    return sigma


def add_white_noise(
    clean: NDArray[np.floating], snr_db: ArrayLike, normals: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Add noise to images.

    Parameters
    ----------
    clean, snr_db
        See :func:`noise_sigma`.
    normals
        (..., y, x): independent normal numbers of mean 0 and variance 1.

    Returns
    -------
    ndarray
        (..., y, x) float64.
    """
    noisy: NDArray[np.float64] = np.add(clean, noise_sigma(clean, snr_db)[..., None, None] * normals, dtype=np.float64)
    return noisy


def normal_pair(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Two independent normal numbers out of two random words, by Box-Muller.

    The first word w is u = (w + 1/2) 2^-32 and gives the radius sqrt(-2 ln u), at most 6.76. Of the second, the low
    thirty bits are an angle within an eighth of a turn of an axis; the highest bit chooses the axis' direction, and the
    next one which axis.

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
