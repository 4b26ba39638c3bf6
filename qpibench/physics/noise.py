"""The white noise of measured maps, from two scans of the same lines or from the highest wavevectors of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError

_CORNER = 0.75
"""Where the plateau begins along both axes, over the largest wavevector."""

_LEAST_POINTS = 16

_STENCILS = ([1.0, -4.0, 6.0, -4.0, 1.0], [1.0, -2.0, 1.0])
"""Differences along either axis, of fourth and second order: the first lets through less of the ripples."""

_LEAST_PLACES = 36
"""Places that a stencil needs."""


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
    """Standard deviation of white noise from the power at the highest wavevectors.

    White noise has the same power at all wavevectors, and ripples that the pixels resolve have none in the corners of
    the Fourier plane, beyond 3/4 of the largest wavevector along both axes. The power of noise is exponentially
    distributed, so its mean is the median over ln 2, which a few peaks of a lattice do not change.

    Rows and columns at the edges without a measured pixel are cut off first. If pixels are missing in what remains,
    their mask would scatter the power of the ripples into the corners. The image is then filtered with fourth
    differences along both axes, which let through little but the corners, at the pixels whose 5 x 5 neighbourhood was
    measured. If there are fewer than 36, it is filtered with second differences (3 x 3 pixels). The standard deviation
    is the median absolute value over 0.6745 and over the norm of the filter.

    Parameters
    ----------
    image
        (y, x); NaN where nothing was measured.

    Raises
    ------
    InvalidDataError
        If the image or its measured part is smaller than 8 x 8 pixels, or pixels are missing in it and fewer than 36
        have a measured neighbourhood.
    """
    values = np.asarray(image, np.float64)
    seen = np.isfinite(values)
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    if min(len(rows), len(columns)) < 8:
        raise InvalidDataError(
            f"Noise needs 8 x 8 pixels, found {values.shape} with measured ones in {len(rows)} rows and"
            f" {len(columns)} columns."
        )
    values = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _by_spectrum(values) if np.isfinite(values).all() else _by_differences(values)


def _by_spectrum(values: NDArray[np.float64]) -> float:
    # The window lets little of what the edges cut reach the corners of the plane.
    window = np.outer(*(np.blackman(size + 2)[1:-1] for size in values.shape))
    power = np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2 / (window**2).sum()
    rows, columns = (np.abs(np.fft.fftfreq(size)) >= _CORNER / 2 for size in values.shape)
    return float(np.sqrt(np.median(power[np.ix_(rows, columns)]) / np.log(2)))


def _by_differences(values: NDArray[np.float64]) -> float:
    for stencil in map(np.array, _STENCILS):
        around = np.lib.stride_tricks.sliding_window_view(values, (len(stencil), len(stencil)))
        differences = around @ stencil @ stencil  # NaN if a pixel was not measured
        found = differences[np.isfinite(differences)]
        if len(found) >= _LEAST_PLACES:
            return float(np.median(np.abs(found)) / 0.6745 / (stencil @ stencil))
    raise InvalidDataError(
        f"Noise needs {_LEAST_PLACES} pixels whose neighbours were all measured, found {len(found)}; give the noise."
    )
