"""Pixels and scatterers of an observation as points in nm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from shared.extractor import Observation
from shared.gathered import gathered
from shared.polar import Points, pixels_of
from shared.scatterers import Scatterers

LEAST_PIXELS = 16


def seen_points(observation: Observation) -> tuple[NDArray[np.float64], Points]:
    """Values (pixel,) and places of the pixels that can be used.

    Raises
    ------
    ValueError
        If they are too few.
    """
    seen = observation.seen.ravel()
    if seen.sum() < LEAST_PIXELS:
        raise ValueError(
            f"{seen.sum()} of the image's {len(seen)} pixels are finite numbers, and at least {LEAST_PIXELS} are"
            " needed; NaN marks a pixel that is not to be used"
        )
    if any(observation.seen.any(axis=axis).sum() < 2 for axis in (0, 1)):
        raise ValueError("the pixels that can be used lie on one line; at least two lines and two columns are needed")
    pixels = pixels_of(observation.grid)
    return observation.image.ravel()[seen], Points(*(values[seen] for values in pixels))


def scatterer_points(scatterers: Scatterers, grid: Grid) -> Points:
    """The scatterers, with their strengths."""
    scatterers = gathered(scatterers)
    x = (scatterers.column - (grid.nx - 1) / 2) * grid.pitch_x_nm
    y = (scatterers.row - (grid.ny - 1) / 2) * grid.pitch_y_nm
    return Points(x, y, scatterers.weight.astype(np.float64))


def rounding_nm(scatterers: Scatterers, grid: Grid) -> tuple[float, float]:
    """Standard deviations of x and y of scatterers that lie anywhere in their cells of a raster; 0 without cells."""
    cell_y, cell_x = scatterers.cell
    return cell_x * grid.pitch_x_nm / 12**0.5, cell_y * grid.pitch_y_nm / 12**0.5
