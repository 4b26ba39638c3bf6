r"""Gaussian denoising: weighted means over neighbouring points.

$$\bar z(\mathbf r) = \frac{\sum_{\mathbf r'} w(\mathbf r' - \mathbf r)\, z(\mathbf r')}
{\sum_{\mathbf r'} w(\mathbf r' - \mathbf r)}, \qquad w(\mathbf d) = e^{-d^2 / 2 R^2},$$

over the measured points $\mathbf r'$ of the map. The radius is $R = 0.5 + 2.5\, s$ pixels at the strength $s$. Ripples
of the wavevector $q$ are damped by the factor $e^{-q^2 R^2 / 2}$.

Source: the denoising of arXiv:2506.05325, whose light and heavy are the strengths 0.3 and 0.7. At the edges of the map
that denoising repeats the last points; here only points in the map count.
"""

from __future__ import annotations

from pydantic import Field

from qpibench.maps.measurement import Maps
from qpibench.maps.preparation import ChannelSettings, Found, changed
from qpibench.maps.smoothing import Strength, gaussian_weights, smoothed, strength_number

KIND = "denoising"


class Settings(ChannelSettings):
    """Settings of the Gaussian denoising."""

    strength: Strength = Field(default="light", description="strength s, which sets the radius: light, heavy or 0 to 1")
    radius_px: float | None = Field(default=None, gt=0, le=100, description="radius R in pixels instead of a strength")


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Smooth the chosen channels; see :class:`qpibench.maps.preparation.Preparation`."""
    radius_px = settings.radius_px or 0.5 + 2.5 * strength_number(settings.strength)
    weights = gaussian_weights(radius_px)
    prepared = changed(maps, settings.channels, lambda layer: smoothed(layer, weights, weights).real)
    return prepared, {"radius_px": radius_px}
