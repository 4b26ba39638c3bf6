"""Noise level of an image, estimated from the image alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ORDERS = (4, 2, 1)
"""Orders of the finite differences, the best first."""

ROUNDING = float(np.finfo(np.float32).eps)
"""Noise that is less than this share of the signal is the rounding of an image in float32."""

ENOUGH = 50
"""Least number of differences for an estimate."""


def noise_level(image: NDArray[np.floating]) -> float:
    """Standard deviation of white noise in an image, from mixed differences along both axes.

    A difference of high order along y and along x passes little but the corners of the Fourier plane, where waves
    resolved by the pixels have no power: ripples of the shortest resolved wavelength lie on the circle inside these
    corners. White noise of the standard deviation sigma has the same power everywhere, and so

        sigma^2 = mean of (h h^T * image)^2 / sum of (h h^T)^2

    with the differences h. The order is 4; pixels that cannot be used leave out every difference that needs them, and
    where fewer than 50 differences are left, the order is lowered to 2 and then to 1. A lower order passes more of the
    image and overestimates. The idea with second differences is that of J. Immerkaer, Fast noise variance estimation,
    Computer Vision and Image Understanding 64, 300 (1996), https://doi.org/10.1006/cviu.1996.0060.

    Parameters
    ----------
    image
        (y, x) observation; pixels that cannot be used are not finite.

    Returns
    -------
    float
        Standard deviation in the units of the image. If no order leaves enough differences, the standard deviation of
        the pixels, which is an upper bound; 0 without pixels.
    """
    values = np.asarray(image, dtype=np.float64)
    for order in ORDERS:
        with np.errstate(invalid="ignore"):  # infinite pixels
            mixed = np.diff(np.diff(values, order, axis=0), order, axis=1)
        usable = mixed[np.isfinite(mixed)]
        if usable.size >= ENOUGH:
            # The sum of the squares of the binomial coefficients of an order.
            return float(np.sqrt(usable @ usable / usable.size) / math.comb(2 * order, order))
    used = values[np.isfinite(values)]
    return float(used.std()) if used.size else 0.0


def noise_to_signal(image: NDArray[np.floating], noise: float) -> float:
    """Variance of the noise over the variance of the signal in an image, from 0 to infinity.

    The variance of the signal is that of the pixels less that of the noise; a constant image has a ratio of 0.

    Parameters
    ----------
    image
        (y, x) observation; pixels that cannot be used are not finite.
    noise
        Standard deviation of the noise.
    """
    used = np.asarray(image, dtype=np.float64)
    used = used[np.isfinite(used)]
    variance, total = noise**2, float(used.var()) if used.size else 0.0
    if total == 0 or variance <= ROUNDING**2 * total:
        return 0.0
    return variance / (total - variance) if variance < total else np.inf
