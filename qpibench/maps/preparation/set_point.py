r"""Set point: the conductance over the current at the set point.

The height of the tip at each point is such that the current at the bias $V_s$ is the set point, so a conductance is
known up to a factor of the height. The quotient

$$\frac{g(\mathbf r, V)}{I(\mathbf r, V_s)}, \qquad |I(\mathbf r, V_s)| \ge f\, \mathrm{median}\, |I(\mathbf r, V_s)|,$$

does not have that factor. It still has the set-point effect: the integral of the density of states up to $V_s$ is in
the divisor. The current is measured at the bias that is closest to $V_s$, or one number for the whole map. Smaller
currents are raised to the floor, which is $f$ times the median over the map, with their sign.

The result is a channel ``NAME over the set point`` in 1/V, beside that of dI/dV. If the file does not tell the unit
of the current, the result has none either.

Source: the set-point effect of Li, Schneider and Berndt, Phys. Rev. B 56, 7656 (1997),
doi:10.1103/PhysRevB.56.7656.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from qpibench.errors import UsageError
from qpibench.maps.measurement import Channel, Maps
from qpibench.maps.preparation import ChannelSettings, Found
from qpibench.maps.spectra import above_floor, bias_v, current_of, spectra, with_channels

KIND = "spectra"


class Settings(ChannelSettings):
    """Settings of the division by the set point; its channels are all in A/V along the axis by default."""

    set_point_v: float | None = Field(
        default=None, description="bias of the set point; by default that of the file, or else the first of the sweep"
    )
    set_point_a: float | None = Field(default=None, gt=0, description="one current for the whole map, not a channel")
    current: str | None = Field(
        default=None, description="channel of the current; the only current of the same direction by default"
    )
    floor: float = Field(default=0.01, gt=0, le=1, description="least |I| over its median, f")


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Add conductances over the set point; see :class:`qpibench.maps.preparation.Preparation`."""
    bias = bias_v(maps)
    layer, wanted = 0, maps.set_point_bias_v if settings.set_point_v is None else settings.set_point_v
    if wanted is not None:
        layer = int(np.argmin(np.abs(bias - wanted)))
        is_outside = abs(bias[layer] - wanted) > np.abs(np.diff(bias)).max()
        if settings.set_point_a is None and is_outside:
            raise UsageError(
                f"The set point at {wanted:g} V is outside of the sweep from {bias.min():g} to {bias.max():g} V; give"
                " another set_point_v, or set_point_a."
            )
    added, floors = [], {}
    for one in spectra(maps, settings.channels, "dI/dV"):
        divisor: object
        told = True
        if settings.set_point_a is None:
            current = current_of(maps, one, settings.current)
            told = bool(current.unit)
            divisor, floors[one.label] = above_floor(current.values[layer], settings.floor)
        else:
            divisor = settings.set_point_a
        values = (one.values / np.asarray(divisor)).astype(one.values.dtype)
        unit = ("1/V" if one.unit == "A/V" else f"{one.unit or '1'}/A") if told else ""
        name = f"{one.name} over the set point"
        added.append(Channel(name=name, unit=unit, values=values, direction=one.direction))
    return replace(maps, channels=with_channels(maps.channels, added)), {
        "bias_v": float(bias[layer]),
        "floor_a": floors,
    }
