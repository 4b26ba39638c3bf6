"""Compiled activation maps, with the bits of :func:`qpibench.physics.activation.activation_map`."""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from qpibench.arithmetic.compiled import compiled


@compiled(nogil=True, error_model="numpy")
def activation_maps(paper, size_x, size_y, count, position, image):  # type: ignore[no-untyped-def]
    """Fill ``image`` (observation, y, x) float32 with the maps of the first ``count`` positions of every observation.

    With ``paper`` the maps mark the cells of the published code; otherwise each scatterer is distributed over four
    pixels. ``position`` (observation, scatterer, xy) and the sizes of the field are in nm.
    """
    ny, nx = image.shape[1:]
    weights = np.empty((ny, nx), np.float64)
    for row in range(len(image)):
        if paper:
            _occupy(size_x, size_y, count[row], position[row], image[row])
        else:
            weights[:] = 0.0
            # The reference adds all lower left corners first, then the other three corners in this order.
            for corner in range(4):
                _share(corner % 2, corner // 2, size_x, size_y, count[row], position[row], weights)
            image[row] = weights


@nb.njit(inline="always")
def _occupy(size_x, size_y, count, position, image):  # type: ignore[no-untyped-def]
    ny, nx = image.shape
    image[:] = np.float32(0)
    for k in range(count):
        x, y = position[k]
        if abs(x) <= size_x / 2 and abs(y) <= size_y / 2:
            column = min(math.floor((x + size_x / 2) / (size_x / nx)), nx - 1)
            row = min(math.floor((y + size_y / 2) / (size_y / ny)), ny - 1)
            image[row, column] = np.float32(1)


@nb.njit(inline="always")
def _share(right, upper, size_x, size_y, count, position, weights):  # type: ignore[no-untyped-def]
    """Add the weight of each scatterer in one of its four pixels."""
    ny, nx = weights.shape
    for k in range(count):
        x, y = position[k]
        if abs(x) <= size_x / 2 and abs(y) <= size_y / 2:
            column, u = _pixel_and_fraction(x, nx, size_x)
            row, v = _pixel_and_fraction(y, ny, size_y)
            weight = (v if upper else 1.0 - v) * (u if right else 1.0 - u)
            weights[row + upper, column + right] += weight


@nb.njit(inline="always")
def _pixel_and_fraction(coordinate, n, size):  # type: ignore[no-untyped-def]
    place = (coordinate + size / 2) / (size / (n - 1))
    pixel = min(math.floor(place), n - 2)
    return pixel, place - pixel
