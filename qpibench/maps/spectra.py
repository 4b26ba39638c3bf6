"""Spectra of maps: channels along the axis of bias, their derivative, and quotients with a floor."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError
from qpibench.maps.measurement import Channel, Maps
from qpibench.maps.units import in_a


def bias_v(maps: Maps) -> NDArray[np.float64]:
    """The biases of the maps in V, (axis,), as measured.

    Raises
    ------
    InvalidDataError
        If the maps have no axis, or another one, or the biases neither rise nor fall throughout.
    """
    if maps.axis is None:
        raise InvalidDataError(f"The maps of {maps.source.file} have no axis; this step needs spectra along a bias.")
    bias = maps.axis.energy_mev / 1e3
    steps = np.diff(bias)
    if len(bias) < 2 or not ((steps > 0).all() or (steps < 0).all()):
        raise InvalidDataError(
            f"The biases of {maps.source.file} neither rise nor fall throughout, so they are no single sweep; split the"
            " sweeps."
        )
    # Evenly spaced values of a sweep through 0 are rounded.
    return np.where(np.abs(bias) <= 1e-9 * np.ptp(bias), 0.0, bias)


def spectra(maps: Maps, names: tuple[str, ...] | None, what: Literal["current", "dI/dV"]) -> tuple[Channel, ...]:
    """Channels with layers along the axis.

    Parameters
    ----------
    maps
        The maps.
    names
        Names or labels of the channels. None stands for all currents, which are in A and called so, or for all dI/dV
        in A/V. Lock-in amplifiers give dI/dV in other units, so their channels have to be named.
    what
        What is asked for.

    Raises
    ------
    UsageError
        If there is no channel of a name.
    InvalidDataError
        If a named channel is a single map, or none is what is asked for; the message lists those with an axis.
    """
    from qpibench.maps.preparation import chosen_channels

    along = [one for one in maps.channels if one.values.ndim == 3]
    if names is None:
        if what == "current":
            chosen = tuple(one for one in along if one.unit == "A" and "current" in one.name.lower())
        else:
            chosen = tuple(one for one in along if one.unit == "A/V")
        if not chosen:
            kind = "current in A" if what == "current" else "dI/dV in A/V"
            there = ", ".join(f"'{one.label}' in {one.unit or 'no unit'}" for one in along) or "none"
            raise InvalidDataError(
                f"{maps.source.file} has no {kind} along its axis; name the channel (those along the axis: {there})."
            )
        return chosen
    chosen = chosen_channels(maps, names)
    if flat := [one.label for one in chosen if one.values.ndim == 2]:
        raise InvalidDataError(f"'{flat[0]}' is a single map; this step needs spectra along the axis.")
    return chosen


def current_of(maps: Maps, channel: Channel, name: str | None) -> Channel:
    """The current that was measured with a channel: that of this name, or the only one, of the same direction.

    Returns
    -------
    Channel
        The current in A. If the file does not tell the unit of a named one, its values are as they are.

    Raises
    ------
    UsageError
        If there is no channel of the name.
    InvalidDataError
        If there is no current of the direction or several, or that of the name has no axis or another unit.
    """
    found = spectra(maps, None if name is None else (name,), "current")
    along = [one for one in found if one.direction == channel.direction]
    if not along and name is None:
        along = [one for one in found if None in (one.direction, channel.direction)]
        if not along:
            there = ", ".join(f"'{one.label}'" for one in found)
            raise InvalidDataError(
                f"{maps.source.file} has no current of the direction of '{channel.label}'; name one with current"
                f" (those there: {there})."
            )
    along = along or list(found)
    if len(along) > 1:
        labels = ", ".join(f"'{one.label}'" for one in along)
        raise InvalidDataError(f"{maps.source.file} has several currents ({labels}); choose one with current.")
    current = along[0]
    if current.unit in ("A", ""):
        return current
    if (factor := in_a(current.unit)) is None:
        raise InvalidDataError(
            f"'{current.label}' is in {current.unit}, which is no unit of current; choose another current."
        )
    return replace(current, unit="A", values=factor * current.values)


def with_channels(channels: tuple[Channel, ...], added: list[Channel]) -> tuple[Channel, ...]:
    """Channels and those that are added; an added one replaces one of the same label."""
    labels = {one.label for one in added}
    return (*(one for one in channels if one.label not in labels), *added)


def above_floor(values: NDArray[np.floating], share: float) -> tuple[NDArray[np.float64], float]:
    """Return divisors that are no smaller than a floor, with their signs, and the floor.

    The floor is ``share`` times the median of the absolute values that are measured and not 0.

    Raises
    ------
    InvalidDataError
        If no value is measured and not 0.
    """
    size = np.abs(values)
    counted = size[np.isfinite(size) & (size > 0)]
    if not len(counted):
        raise InvalidDataError("The channel that is divided by has no measured value other than 0.")
    floor = share * float(np.median(counted))
    return np.where(values < 0, -1.0, 1.0) * np.maximum(size, floor), floor


def derivative_matrix(
    place: NDArray[np.float64], *, order: int, window: int | None = None, width: float | None = None
) -> NDArray[np.float64]:
    """Return the matrix that takes values at places to the slope of a fitted polynomial at each place.

    Parameters
    ----------
    place
        (axis,): places that rise or fall throughout.
    order
        Order of the polynomials.
    window
        Number of neighbouring places that are fitted with equal weights; at the ends of the axis the window is shifted.
    width
        Standard deviation of Gaussian weights of all places instead of a window.

    Returns
    -------
    ndarray
        (axis, axis).
    """
    n = len(place)
    matrix = np.zeros((n, n))
    for i in range(n):
        if window is not None:
            first = min(max(i - window // 2, 0), max(n - window, 0))
            near, root = np.arange(first, min(first + window, n)), np.ones(min(window, n))
        else:
            root = np.exp(-0.25 * ((place - place[i]) / width) ** 2)
            near = np.flatnonzero(root > 1e-9)
            if len(near) <= order:  # the width is smaller than the steps
                near = np.argsort(np.abs(place - place[i]))[: order + 1]
            root = np.maximum(root[near], 1e-9)
        distance = place[near] - place[i]
        scale = np.abs(distance).max()
        terms = np.vander(distance / scale, order + 1, increasing=True)
        matrix[i, near] = np.linalg.pinv(root[:, None] * terms)[1] * root / scale
    return matrix
