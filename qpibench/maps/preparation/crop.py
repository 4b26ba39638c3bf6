r"""Crop: a rectangle of the map is kept, with its place in the scanner's coordinates.

The centre of the rectangle is at $\mathbf m$ from the centre of the frame, which is turned clockwise by the angle
$\alpha$, so the centre of the cropped map lies at

$$\mathbf c' = \mathbf c + \begin{pmatrix} \cos\alpha & \sin\alpha \\ -\sin\alpha & \cos\alpha \end{pmatrix} \mathbf m$$

in the scanner's coordinates. All channels are cropped.

Source: our own; Nanonis counts the angle of a frame clockwise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field, model_validator

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.maps.measurement import Maps
from qpibench.maps.preparation import Found, StepSettings

KIND = "points"


class Settings(StepSettings):
    """Settings of a crop: one of the two."""

    pixels: tuple[int, int, int, int] | None = Field(
        default=None, description="first and last column, then first and last row, which are kept; counted from 0"
    )
    edges_nm: tuple[float, float, float, float] | None = Field(
        default=None,
        description="left, right, lower and upper edge in nm from the centre; points between them are kept",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Settings:
        if (self.pixels is None) == (self.edges_nm is None):
            raise ValueError("give either pixels or edges_nm")
        return self


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Crop all channels; see :class:`qpibench.maps.preparation.Preparation`."""
    grid = maps.grid
    left, right, bottom, top = settings.pixels or _within(settings.edges_nm or (0, 0, 0, 0), grid)
    if not (0 <= left < right < grid.nx and 0 <= bottom < top < grid.ny):
        raise UsageError(
            f"The crop to {list(settings.pixels or settings.edges_nm or ())} is not possible: a map of {grid.nx} x"
            f" {grid.ny} pixels, {grid.size_x_nm:.4g} x {grid.size_y_nm:.4g} nm around its centre, must keep two"
            " columns and two rows at least, and none outside it."
        )
    part = Grid(
        ny=top - bottom + 1,
        nx=right - left + 1,
        size_y_nm=grid.pitch_y_nm * (top - bottom),
        size_x_nm=grid.pitch_x_nm * (right - left),
    )
    x, y = (grid.x_nm[left] + grid.x_nm[right]) / 2, (grid.y_nm[bottom] + grid.y_nm[top]) / 2
    cosine, sine = np.cos(np.deg2rad(maps.angle_deg)), np.sin(np.deg2rad(maps.angle_deg))
    centre_nm = maps.centre_nm[0] + cosine * x + sine * y, maps.centre_nm[1] - sine * x + cosine * y
    channels = tuple(
        replace(one, values=one.values[..., bottom : top + 1, left : right + 1].copy()) for one in maps.channels
    )
    found = {"pixels": [left, right, bottom, top]}
    return replace(maps, grid=part, channels=channels, centre_nm=(float(centre_nm[0]), float(centre_nm[1]))), found


def _within(edges_nm: tuple[float, float, float, float], grid: Grid) -> tuple[int, int, int, int]:
    """First and last column, and row, between edges; an edge outside of the map is refused later."""
    kept = []
    for low, high, centres, pitch in (
        (*edges_nm[:2], grid.x_nm, grid.pitch_x_nm),
        (*edges_nm[2:], grid.y_nm, grid.pitch_y_nm),
    ):
        slack = 1e-6 * pitch
        # Pixels are squares around their centres, so an edge may lie half a pixel outside of the outer centres.
        if low < centres[0] - pitch / 2 - slack or high > centres[-1] + pitch / 2 + slack:
            return -1, -1, -1, -1
        inside = np.flatnonzero((centres >= low - slack) & (centres <= high + slack))
        kept += [int(inside[0]), int(inside[-1])] if len(inside) else [-1, -1]
    return kept[0], kept[1], kept[2], kept[3]
