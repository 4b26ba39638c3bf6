r"""Ratio maps: the conductance at a bias over that at the opposite bias.

$$Z(\mathbf r, E) = \frac{g(\mathbf r, +E)}{g(\mathbf r, -E)}, \qquad
|g(\mathbf r, -E)| \ge f\, \mathrm{median}\, |g(\mathbf r, -E)|.$$

The set point multiplies both by the same factor, which the ratio does not have. Energies are the positive biases whose
opposite lies within the sweep; between the measured biases $g$ is interpolated linearly. Smaller divisors are raised to
the floor, which is $f$ times the median over the maps that are divided by, with their sign.

The maps have the positive biases as their axis then. The channels ``ratio of NAME`` take the place of all with an axis;
single maps stay.

Source: Hanaguri et al., Nat. Phys. 3, 865 (2007), doi:10.1038/nphys753.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qpibench.errors import InvalidDataError
from qpibench.maps.measurement import Axis, Channel, Maps
from qpibench.maps.preparation import ChannelSettings, Found
from qpibench.maps.spectra import above_floor, bias_v, spectra

KIND = "spectra"


class Settings(ChannelSettings):
    """Settings of ratio maps; their channels are all in A/V along the axis by default."""

    floor: float = Field(default=0.01, gt=0, le=1, description="least divisor over its median, f")


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Replace spectra by ratio maps; see :class:`qpibench.maps.preparation.Preparation`."""
    bias = bias_v(maps)
    places = np.flatnonzero((bias > 0) & (-bias >= bias.min() - 1e-9 * np.ptp(bias)))
    if maps.axis is None or not len(places):
        raise InvalidDataError(
            f"The biases of {maps.source.file} run from {bias.min():g} to {bias.max():g} V; ratio maps need both signs."
        )
    ratios, floors = [], {}
    for one in spectra(maps, settings.channels, "dI/dV"):
        divisor, floors[one.label] = above_floor(_interpolated(one.values, bias, -bias[places]), settings.floor)
        values = (one.values[places] / divisor).astype(one.values.dtype)
        ratios.append(Channel(name=f"ratio of {one.name}", unit="1", values=values, direction=one.direction))
    single = (one for one in maps.channels if one.values.ndim == 2)
    axis = Axis(name=maps.axis.name, unit=maps.axis.unit, values=bias[places])
    return replace(maps, channels=(*single, *ratios), axis=axis), {"floor": floors}


def _interpolated(
    values: NDArray[np.floating], bias: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values (axis, y, x) at wanted biases within the sweep."""
    order = np.argsort(bias)
    place = np.interp(wanted, bias[order], np.arange(len(bias)))
    place = np.where(np.abs(place - np.rint(place)) < 1e-6, np.rint(place), place)  # a measured bias needs no neighbour
    low = np.minimum(place.astype(int), len(bias) - 1)
    high = np.minimum(low + 1, len(bias) - 1)
    share = (place - low)[:, None, None]
    rising = values[order].astype(np.float64)
    between: NDArray[np.float64] = np.where(share > 0, (1 - share) * rising[low] + share * rising[high], rising[low])
    return between
