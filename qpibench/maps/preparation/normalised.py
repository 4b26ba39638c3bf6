r"""Normalised conductance: (dI/dV)/(I/V).

The distance of the tip varies over a map, as the set point keeps a current and not a height. The quotient

$$g(\mathbf r, V) = \frac{dI/dV}{I/V}, \qquad |I/V| \ge f\, \mathrm{median}\, |I/V|,$$

depends on it much less. Near a gap $I/V$ falls below the noise; smaller values are therefore raised to the floor, which
is $f$ times the median over the map, with their sign. At $V = 0$ the quotient is set to its limit 1.

The result is a channel ``normalised NAME`` without a unit, beside that of dI/dV. If dI/dV comes from a lock-in
amplifier in other units than A/V, so does the result, and its scale has no meaning. If the file does not tell the unit
of the current, the result has none either.

Source: Feenstra, Stroscio and Fein, Surf. Sci. 181, 295 (1987), doi:10.1016/0039-6028(87)90170-1; the floor takes the
place of their broadening.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from qpibench.maps.measurement import Channel, Maps
from qpibench.maps.preparation import ChannelSettings, Found
from qpibench.maps.spectra import above_floor, bias_v, current_of, spectra, with_channels

KIND = "spectra"


class Settings(ChannelSettings):
    """Settings of the normalised conductance; its channels are all in A/V along the axis by default."""

    current: str | None = Field(
        default=None, description="channel of the current; the only current of the same direction by default"
    )
    floor: float = Field(default=0.01, gt=0, le=1, description="least |I/V| over its median, f")


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Add normalised conductances; see :class:`qpibench.maps.preparation.Preparation`."""
    bias = bias_v(maps)[:, None, None]
    added, floors = [], {}
    for one in spectra(maps, settings.channels, "dI/dV"):
        current = current_of(maps, one, settings.current)
        slope = np.divide(current.values, bias, where=bias != 0, out=np.full(one.values.shape, np.nan))
        divisor, floors[one.label] = above_floor(slope, settings.floor)
        quotient = np.where((bias == 0) & np.isfinite(one.values), 1.0, one.values / divisor)
        unit = "1" if one.unit == "A/V" else f"{one.unit or '1'} V/A"
        unit = unit if current.unit else ""
        values = quotient.astype(one.values.dtype)
        added.append(Channel(name=f"normalised {one.name}", unit=unit, values=values, direction=one.direction))
    return replace(maps, channels=with_channels(maps.channels, added)), {"floor_a_per_v": floors}
