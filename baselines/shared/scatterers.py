"""Scatterers of an image in pixels, read from the coordinates or from the activation map of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpibench import Batch


@dataclass(frozen=True)
class Scatterers:
    """Scatterers of one image, as exactly as the view states them.

    Attributes
    ----------
    row, column
        (scatterer,) float64: places in pixels from the centre of the first pixel.
    weight
        (scatterer,) float64: strengths.
    cell
        Side in pixels of the cell in which each may lie anywhere; 0 where the places are exact.
    """

    row: NDArray[np.float64]
    column: NDArray[np.float64]
    weight: NDArray[np.float64]
    cell: tuple[float, float] = (0.0, 0.0)


def scatterers_of(batch: Batch, i: int) -> Scatterers:
    """Scatterers of an image: from its coordinates where the view grants them, else from its activation map.

    Raises
    ------
    ValueError
        If the view has neither.
    """
    ny, nx = batch.grid.shape
    if batch.position_nm is not None:
        x, y = batch.position_nm[i][~np.isnan(batch.position_nm[i]).any(axis=1)].T
        row = y / batch.grid.pitch_y_nm + (ny - 1) / 2
        column = x / batch.grid.pitch_x_nm + (nx - 1) / 2
        return Scatterers(row, column, np.ones(len(row)))
    if batch.activation_map is None:
        raise ValueError("this model needs the scatterers: the view 'raster' or 'positions'")
    marks = batch.activation_map[i].astype(np.float64)
    row, column = (index.astype(np.float64) for index in np.nonzero(marks))
    weight = marks[marks != 0]
    if not (weight == 1).all():
        return Scatterers(row, column, weight)
    # The published activation map divides the field into n cells, while n pixels span it from edge to edge.
    cell = ((ny - 1) / ny, (nx - 1) / nx)
    return Scatterers((row + 0.5) * cell[0], (column + 0.5) * cell[1], weight, cell)
