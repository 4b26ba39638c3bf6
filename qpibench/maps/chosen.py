"""A channel of maps and layers of a stack, as the user names them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import UsageError
from qpibench.maps.measurement import Axis, Channel, Maps

_ONE_LAYER_MEV = 1.0
"""Distance of an energy from that of the only layer, up to which this layer is meant."""


def chosen_channel(maps: Maps, name: str | None) -> Channel:
    """Return a channel by its name or label; None is the only one.

    Raises
    ------
    UsageError
        If there is no such channel, or several and none is named.
    """
    if name is not None:
        return maps.channel(name)
    swept = [one for one in maps.channels if one.values.ndim == 3]  # the others are parameters of the points
    names = {one.name for one in swept or maps.channels}
    if len(names) != 1:
        labels = ", ".join(f"'{one.label}'" for one in maps.channels) or "none"
        raise UsageError(
            f"{maps.source.file} has the channels {labels}; name the one that is wanted (channel; --channel)."
        )
    return maps.channel(names.pop())


def nearest_layers(maps: Maps, channel: Channel, energies_mev: Sequence[float]) -> NDArray[np.intp]:
    """Return the numbers of the layers nearest to energies in meV, ascending and each once.

    Raises
    ------
    UsageError
        If the channel is a single map, or its energies are farther away than half the largest spacing between two of
        them, or than 1 meV if there is one.
    InvalidDataError
        If the axis of the maps is no bias.
    """
    if maps.axis is None or channel.values.ndim != 3:
        raise UsageError(f"Channel '{channel.label}' is a single map, so no energies can be chosen.")
    return nearest_on_axis(maps.axis, energies_mev, maps.source.file)


def nearest_on_axis(axis: Axis, energies_mev: Sequence[float], what: str) -> NDArray[np.intp]:
    """Return the numbers of the layers of an axis nearest to energies; see :func:`nearest_layers`."""
    asked = np.atleast_1d(np.asarray(energies_mev, np.float64))
    if not len(asked):
        raise UsageError("No energy is chosen; name one at least, or leave the choice out.")
    there = axis.energy_mev
    farthest = float(np.abs(np.diff(np.sort(there))).max()) / 2 if len(there) > 1 else _ONE_LAYER_MEV
    places = []
    for wanted in asked.tolist():
        nearest = int(np.argmin(np.abs(there - wanted)))
        if not abs(there[nearest] - wanted) <= farthest + 1e-6:
            raise UsageError(
                f"{what} has no layer at {wanted:g} meV; its energies are {there.min():g} to {there.max():g} meV."
            )
        places.append(nearest)
    return np.unique(places)
