"""Activation maps: the positions of scatterers as an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.physics.shapes import check_shape

MapMode = Literal["paper", "exact"]
"""How a scatterer is rasterised; see :func:`activation_map`."""

MAP_MODES: tuple[MapMode, ...] = get_args(MapMode)


def check_map_mode(map_mode: str | None, fields: Sequence[str]) -> None:
    """Check the map mode of samples that have these fields.

    Raises
    ------
    UsageError
        If the mode is unknown, or the fields have an activation map and there is no mode.
    """
    if map_mode is None and "activation_map" in fields:
        raise UsageError(f"The field 'activation_map' needs map_mode, {' or '.join(map(repr, MAP_MODES))}.")
    if map_mode is not None and map_mode not in MAP_MODES:
        raise UsageError(f"There is no activation map mode {map_mode!r}; choose one of {', '.join(MAP_MODES)}.")


def activation_map(grid: Grid, position_nm: NDArray[np.float64], *, mode: str) -> NDArray[np.float32]:
    """Rasterise the scatterers that lie inside the field; scatterers outside are ignored.

    Parameters
    ----------
    grid
        Grid of the observations.
    position_nm
        (observation, scatterer, 2) float64: x and y in nm, padded with NaN.
    mode
        ``"paper"``: as in the published code. The field of length L is divided into n cells of L/n, and a cell with at
        least one scatterer is 1. Cells are narrower than the pixel pitch L/(n-1), so a mark may be half a pixel off.
        ``"exact"``: each scatterer is distributed over its four nearest pixels by bilinear weights. The sum of the map
        is the number of scatterers inside the field, and its centre of mass is that of the scatterers.

    Returns
    -------
    ndarray
        (observation, ny, nx) float32, indexed [y, x].

    Raises
    ------
    UsageError
        If the mode is unknown, or `position_nm` has another shape.
    """
    check_map_mode(mode, ())
    check_shape("position_nm", position_nm, "observation", "scatterer", 2)
    x, y = position_nm[..., 0], position_nm[..., 1]
    inside = (np.abs(x) <= grid.size_x_nm / 2) & (np.abs(y) <= grid.size_y_nm / 2)
    observation = np.nonzero(inside)[0]
    rasterise = _occupied_cells if mode == "paper" else _bilinear_weights
    return rasterise(grid, observation, x[inside], y[inside], len(position_nm))


def _occupied_cells(
    grid: Grid, observation: NDArray[np.intp], x: NDArray[np.float64], y: NDArray[np.float64], count: int
) -> NDArray[np.float32]:
    occupied = np.zeros((count, *grid.shape), dtype=np.float32)
    column = _cell(x, grid.nx, grid.size_x_nm)
    row = _cell(y, grid.ny, grid.size_y_nm)
    occupied[observation, row, column] = 1
    return occupied


def _cell(coordinate: NDArray[np.float64], n: int, size_nm: float) -> NDArray[np.intp]:
    # A scatterer on the far edge belongs to the last cell.
    return np.minimum(np.floor((coordinate + size_nm / 2) / (size_nm / n)).astype(np.intp), n - 1)


def _bilinear_weights(
    grid: Grid, observation: NDArray[np.intp], x: NDArray[np.float64], y: NDArray[np.float64], count: int
) -> NDArray[np.float32]:
    column, right = _pixel_and_fraction(x, grid.nx, grid.size_x_nm)
    row, upper = _pixel_and_fraction(y, grid.ny, grid.size_y_nm)
    corner = (observation * grid.ny + row) * grid.nx + column
    pixel = np.concatenate([corner, corner + 1, corner + grid.nx, corner + grid.nx + 1])
    weight = np.concatenate([(1 - upper) * (1 - right), (1 - upper) * right, upper * (1 - right), upper * right])
    summed = np.bincount(pixel, weights=weight, minlength=count * grid.ny * grid.nx)
    return summed.reshape(count, *grid.shape).astype(np.float32)


def _pixel_and_fraction(
    coordinate: NDArray[np.float64], n: int, size_nm: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Pixel below a coordinate, at most the last but one, and the distance from it in pixels, 0 to 1."""
    place = (coordinate + size_nm / 2) / (size_nm / (n - 1))
    pixel = np.minimum(np.floor(place).astype(np.intp), n - 2)
    return pixel, place - pixel
