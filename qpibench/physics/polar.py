"""Images on rays from the centre of their grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid


def inscribed_radii(grid: Grid) -> NDArray[np.float64]:
    """Return equally spaced radii in nm, (r,), from 0 to the largest centred disc, at most the smaller pitch apart."""
    length = min(grid.size_x_nm, grid.size_y_nm) / 2
    return np.linspace(0, length, max(8, int(np.ceil(length / min(grid.pitch_x_nm, grid.pitch_y_nm))) + 1))


def pixels_on_rays(grid: Grid, radius_nm: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return row and column, as fractions of pixels, of the points on rays at equal angles from x, (2, ray, r)."""
    angle = 2 * np.pi * np.arange(count)[:, None] / count
    row = radius_nm * np.sin(angle) / grid.pitch_y_nm + (grid.ny - 1) / 2
    column = radius_nm * np.cos(angle) / grid.pitch_x_nm + (grid.nx - 1) / 2
    return np.stack([row, column])


def on_rays(image: NDArray[np.floating], pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of an image (y, x) at pixels (2, ray, r), by its cubic spline, (ray, r) float64."""
    from scipy.ndimage import map_coordinates

    return np.asarray(map_coordinates(image.astype(np.float64), pixels, order=3, mode="mirror"), dtype=np.float64)
