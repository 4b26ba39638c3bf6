"""Values of maps between their points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from qpibench.maps.measurement import Maps


def resampled(maps: Maps, place_nm: NDArray[np.float64]) -> Maps:
    """Return maps whose points show other places of the old ones, by the interpolating cubic B-spline.

    Parameters
    ----------
    maps
        The maps.
    place_nm
        (xy, y, x): the place in nm that each point shows. A point is NaN where the nearest old point was not measured,
        or its place lies more than half a pixel outside the old points.
    """
    places = pixels(maps.grid, place_nm)
    return replace(maps, channels=tuple(replace(one, values=_of_channel(one.values, places)) for one in maps.channels))


def pixels(grid: Grid, place_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows and columns, (yx, y, x) counted from 0 with fractions, of places (xy, y, x) in nm."""
    x, y = place_nm
    return np.stack([(y - grid.y_nm[0]) / grid.pitch_y_nm, (x - grid.x_nm[0]) / grid.pitch_x_nm])


def _of_channel(values: NDArray[np.floating], places: NDArray[np.float64]) -> NDArray[np.floating]:
    from scipy.ndimage import distance_transform_edt, map_coordinates

    ny, nx = values.shape[-2:]
    row, column = np.rint(places).astype(int)
    inside = (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
    nearest = np.clip(row, 0, ny - 1), np.clip(column, 0, nx - 1)
    result = np.full_like(values, np.nan)
    for index in np.ndindex(*values.shape[:-2]):
        layer = values[index].astype(np.float64)
        measured = np.isfinite(layer)
        if not measured.any():
            continue
        # Splines reach over all points: those that were not measured have the value of the nearest one that was.
        known = (
            layer
            if measured.all()
            else layer[tuple(distance_transform_edt(~measured, return_distances=False, return_indices=True))]
        )
        between = map_coordinates(known, places, order=3, mode="nearest")
        result[index] = np.where(inside & measured[nearest], between, np.nan)
    return result
