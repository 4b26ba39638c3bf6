"""The white noise of measured maps, from two scans of the same lines or from the highest wavevectors of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError

_CORNER = 0.75
"""Where the plateau begins along both axes, over the largest wavevector."""

_LEAST_POINTS = 16


def noise_of_scans(forward: NDArray[np.floating], backward: NDArray[np.floating]) -> float:
    """Standard deviation of the noise in one scan: that of the difference of two scans over the square root of 2.

    What both scans show alike cancels, whatever it is; a drift between them does not, and counts as noise.

    Parameters
    ----------
    forward, backward
        (y, x) in one unit; NaN where nothing was measured.

    Raises
    ------
    InvalidDataError
        If fewer than 16 points were measured in both.
    """
    difference = np.asarray(forward, np.float64) - np.asarray(backward, np.float64)
    seen = difference[np.isfinite(difference)]
    if len(seen) < _LEAST_POINTS:
        raise InvalidDataError(f"Noise needs {_LEAST_POINTS} points in both scans, found {len(seen)}.")
    return float(seen.std(ddof=1) / np.sqrt(2))


def noise_plateau(image: NDArray[np.floating]) -> float:
    """Standard deviation of white noise from the plateau of the power spectrum at the highest wavevectors.

    White noise has the same power at all wavevectors, and ripples that the pixels resolve have none in the corners of
    the Fourier plane, beyond 3/4 of the largest wavevector along both axes. The power of noise is exponentially
    distributed, so its mean is the median over ln 2, which a few peaks of a lattice do not change.

    Parameters
    ----------
    image
        (y, x); NaN where nothing was measured.

    Raises
    ------
    InvalidDataError
        If the image has too few pixels or none was measured.
    """
    values = np.asarray(image, np.float64)
    seen = np.isfinite(values)
    if min(values.shape) < 8 or seen.sum() < _LEAST_POINTS:
        raise InvalidDataError(
            f"Noise needs 8 x 8 pixels and {_LEAST_POINTS} measured ones, found {values.shape} and {int(seen.sum())}."
        )
    filled = np.where(seen, values - values[seen].mean(), 0.0)
    # The window lets little of what the edges cut reach the corners of the plane.
    window = np.outer(*(np.blackman(size + 2)[1:-1] for size in values.shape)) * seen
    power = np.abs(np.fft.fft2(filled * window)) ** 2 / (window**2).sum()
    rows, columns = (np.abs(np.fft.fftfreq(size)) >= _CORNER / 2 for size in values.shape)
    return float(np.sqrt(np.median(power[np.ix_(rows, columns)]) / np.log(2)))
