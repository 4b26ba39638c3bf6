"""Sums over the pixels of an image, and the variance of images, in one fixed tree.

Pixel k of the flat image, row by row, belongs to lane k mod ``LANES``. Each lane adds its pixels in order. Then, for
widths 128, 64, ..., 1, the value of lane i + width is added to lane i. ``kernels_cuda/sums.cuh`` states the same
operations in the same order.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.ieee import fma, sqrt

LANES = 256

VARIANCE_FLOOR = 2.0**-120
"""Images with less variance count as constant, on every backend, so that no product is denormal."""

DEVIATION_FLOOR = 2.0**-60


@compiled(nogil=True, error_model="numpy")
def clean_variance(axes, scatterers, core_nm, image, variance):  # type: ignore[no-untyped-def]
    """Fill ``variance`` (observation,) float64 with the variances of ``image`` (observation, y, x) float32.

    Pixels count that lie at least ``core_nm`` from every scatterer; all pixels count if none does, or if ``core_nm`` is
    0. ``axes`` and ``scatterers`` are those of :mod:`qpibench.arithmetic.superposition`.
    """
    ny, nx = image.shape[1:]
    counts = np.ones(ny * nx if core_nm > 0.0 else 0, np.bool_)
    for row in range(len(image)):
        pixels = image[row].reshape(-1)
        number = 0
        if core_nm > 0.0:
            number = _find_outside(axes, scatterers.position[row], scatterers.number[row], core_nm * core_nm, counts)
        variance[row] = _variance_outside(pixels, counts, number) if number > 0 else _variance(pixels)


@compiled(nogil=True, error_model="numpy")
def root_mean_squares(image, rms):  # type: ignore[no-untyped-def]
    """Fill ``rms`` (kernel,) float64 with the roots of the mean squares of ``image`` (kernel, y, x) float32."""
    for kernel in range(len(image)):
        pixels = image[kernel].reshape(-1)
        rms[kernel] = sqrt(_sum_of_squares(pixels, 0.0) / len(pixels))


@compiled(nogil=True, error_model="numpy")
def contrasts(image, contrast):  # type: ignore[no-untyped-def]
    """Fill ``contrast`` (pair,) float64 with ||A - B|| / sqrt(||A||^2 + ||B||^2); 0 if both are 0 everywhere.

    ``image`` (2 pair, y, x) float32 has A and B of each pair one after the other.
    """
    for pair in range(len(contrast)):
        first = image[2 * pair].reshape(-1)
        second = image[2 * pair + 1].reshape(-1)
        both = _sum_of_squares(first, 0.0) + _sum_of_squares(second, 0.0)
        difference = np.empty(len(first))
        for k in range(len(first)):
            difference[k] = np.float64(first[k]) - np.float64(second[k])
        contrast[pair] = sqrt(_sum_of_squares(difference, 0.0) / both) if both > 0.0 else 0.0


@nb.njit(inline="always")
def deviation(variance, strength):  # type: ignore[no-untyped-def]
    """``strength`` standard deviations of an image with this variance, float32.

    It is 0 if the variance is below ``VARIANCE_FLOOR``, or the result below its root.
    """
    value = strength * sqrt(variance)
    return np.float32(value) if variance >= VARIANCE_FLOOR and abs(value) >= DEVIATION_FLOOR else np.float32(0)


@nb.njit
def _find_outside(axes, position, count, core2, counts):  # type: ignore[no-untyped-def]
    """Mark the pixels outside the cores, of this squared radius; return their number."""
    nx = len(axes.x)
    counts[:] = True
    for scatterer in range(count):
        for iy in range(len(axes.y)):
            dy = axes.y[iy] - position[scatterer, 1]
            dy2 = dy * dy
            if dy2 < core2:
                for ix in range(nx):
                    dx = axes.x[ix] - position[scatterer, 0]
                    counts[iy * nx + ix] &= dx * dx + dy2 >= core2
    number = 0
    for k in range(len(counts)):
        number += counts[k]
    return number


@nb.njit
def _variance_outside(pixels, counts, number):  # type: ignore[no-untyped-def]
    lanes = np.zeros(LANES, np.float64)
    for k in range(len(pixels)):
        if counts[k]:
            lanes[k % LANES] += np.float64(pixels[k])
    mean = _tree_sum(lanes) / number
    lanes[:] = 0.0
    for k in range(len(pixels)):
        if counts[k]:
            difference = np.float64(pixels[k]) - mean
            lanes[k % LANES] = fma(difference, difference, lanes[k % LANES])
    return _tree_sum(lanes) / number


@nb.njit(inline="always")
def _variance(pixels):  # type: ignore[no-untyped-def]
    lanes = np.zeros(LANES, np.float64)
    whole = len(pixels) // LANES * LANES
    for first in range(0, whole, LANES):
        for k in range(LANES):
            lanes[k] += np.float64(pixels[first + k])
    for k in range(len(pixels) - whole):
        lanes[k] += np.float64(pixels[whole + k])
    return _sum_of_squares(pixels, _tree_sum(lanes) / len(pixels)) / len(pixels)


@nb.njit(inline="always")
def _sum_of_squares(pixels, mean):  # type: ignore[no-untyped-def]
    lanes = np.zeros(LANES, np.float64)
    whole = len(pixels) // LANES * LANES
    for first in range(0, whole, LANES):
        for k in range(LANES):
            deviation = np.float64(pixels[first + k]) - mean
            lanes[k] = fma(deviation, deviation, lanes[k])
    for k in range(len(pixels) - whole):
        deviation = np.float64(pixels[whole + k]) - mean
        lanes[k] = fma(deviation, deviation, lanes[k])
    return _tree_sum(lanes)


@nb.njit(inline="always")
def _tree_sum(lanes):  # type: ignore[no-untyped-def]
    width = LANES // 2
    while width > 0:
        for k in range(width):
            lanes[k] += lanes[k + width]
        width //= 2
    return lanes[0]
