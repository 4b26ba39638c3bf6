r"""Mask: points are set to NaN, as if they had not been measured.

The masked points are those in rectangles, those that are given, and in each layer the values above a quantile $Q$ of
its measured points,

$$z(\mathbf r) > Q_p(z),$$

such as the cores of strong scatterers. Other steps pass over masked points, and the fit of a kernel leaves them out.

Source: our own; NaN is the mark of a point without a measurement in all maps.
"""

from __future__ import annotations

import base64
import zlib
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.maps.measurement import Maps
from qpibench.maps.preparation import ChannelSettings, Found, changed

KIND = "points"
Rectangle = tuple[float, float, float, float]


def _as_text(points: Any) -> Any:
    """A boolean array as text that JSON can hold: its shape, a colon, and its packed bits."""
    if not isinstance(points, np.ndarray):
        return points
    if points.ndim != 2 or points.dtype != bool:
        raise ValueError(f"must be an array (y, x) of truth values, found {points.dtype} of shape {points.shape}")
    packed = base64.b85encode(zlib.compress(np.packbits(points).tobytes(), 9)).decode()
    return f"{points.shape[0]}x{points.shape[1]}:{packed}"


class Settings(ChannelSettings):
    """Settings of a mask."""

    rectangles_nm: tuple[Rectangle, ...] = Field(
        default=(), description="left, right, lower and upper edge of each rectangle in nm from the centre of the frame"
    )
    above_quantile: float | None = Field(
        default=None, ge=0, le=1, description="share of measured points that are kept, those with the lowest values"
    )
    points: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        default=None, description="array (y, x), true at masked points; it is recorded as text"
    )

    @model_validator(mode="after")
    def _not_empty(self) -> Settings:
        if not self.rectangles_nm and self.above_quantile is None and self.points is None:
            raise ValueError("give rectangles_nm, above_quantile or points")
        for left, right, lower, upper in self.rectangles_nm:
            if left >= right or lower >= upper:
                raise ValueError(
                    f"the rectangle {[left, right, lower, upper]} is empty; give its left, right, lower and upper edge"
                )
        return self


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Mask points of the chosen channels; see :class:`qpibench.maps.preparation.Preparation`."""
    masked = np.zeros(maps.grid.shape, bool) if settings.points is None else _from_text(settings.points, maps.grid)
    x, y = maps.grid.x_nm, maps.grid.y_nm[:, None]
    for left, right, lower, upper in settings.rectangles_nm:
        inside = (x >= left) & (x <= right) & (y >= lower) & (y <= upper)
        if not inside.any():
            raise UsageError(
                f"The rectangle {[left, right, lower, upper]} has no point of the map, which has x from {x[0]:.4g} to"
                f" {x[-1]:.4g} nm and y from {y[0, 0]:.4g} to {y[-1, 0]:.4g} nm."
            )
        masked = masked | inside

    def hidden(layer: NDArray[np.float64]) -> NDArray[np.float64]:
        shown = np.where(masked, np.nan, layer)
        if settings.above_quantile is None:
            return shown
        return np.where(layer > np.nanquantile(layer, settings.above_quantile), np.nan, shown)

    return changed(maps, settings.channels, hidden), {}


def _from_text(text: str, grid: Grid) -> NDArray[np.bool_]:
    shape, _, packed = text.partition(":")
    if shape != f"{grid.ny}x{grid.nx}":
        raise UsageError(f"The points of a mask have the shape {shape} (y, x); the maps have {grid.ny}x{grid.nx}.")
    try:
        bits = np.frombuffer(zlib.decompress(base64.b85decode(packed)), np.uint8)
        return np.unpackbits(bits, count=grid.ny * grid.nx).astype(bool).reshape(grid.shape)
    except (ValueError, zlib.error):
        raise UsageError("The points of a mask are no text of a recorded mask; give an array (y, x).") from None
