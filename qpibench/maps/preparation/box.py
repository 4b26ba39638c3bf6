r"""Box denoising: means over neighbouring points in a square.

$$\bar z(x, y) = \frac{\sum_{i,j} w_i\, w_j\, z(x + i, y + j)}{\sum_{i,j} w_i\, w_j}, \qquad
w_i = \min\left[1, \max(0, R + 1 - |i|)\right],$$

over the measured points of the map, in pixels. The radius is $R = 0.5 + 3.5\, s$ pixels at the strength $s$. The square
is $2R + 1$ pixels wide, and the fraction of a pixel at its edges counts as a fraction.

Source: the denoising of arXiv:2506.05325, whose light and heavy are the strengths 0.3 and 0.7. At the edges of the map
that denoising repeats the last points; here only points in the map count.
"""

from __future__ import annotations

from pydantic import Field

from qpibench.maps.measurement import Maps
from qpibench.maps.preparation import ChannelSettings, Found, changed
from qpibench.maps.smoothing import Strength, box_weights, smoothed, strength_number

KIND = "denoising"


class Settings(ChannelSettings):
    """Settings of the box denoising."""

    strength: Strength = Field(default="light", description="strength s, which sets the radius: light, heavy or 0 to 1")
    radius_px: float | None = Field(default=None, gt=0, le=100, description="radius R in pixels instead of a strength")


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Smooth the chosen channels; see :class:`qpibench.maps.preparation.Preparation`."""
    radius_px = settings.radius_px or 0.5 + 3.5 * strength_number(settings.strength)
    weights = box_weights(radius_px)
    prepared = changed(maps, settings.channels, lambda layer: smoothed(layer, weights, weights).real)
    return prepared, {"radius_px": radius_px}
