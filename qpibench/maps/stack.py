"""Maps that were scanned one after the other at different biases become one stack."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from qpibench.counting import counted
from qpibench.errors import InvalidDataError, UsageError
from qpibench.maps.arrays import bias_axis
from qpibench.maps.measurement import Channel, Maps, Source

_WITHIN_PX = 0.05
"""Farthest that two frames may put a point apart, in pixels: less than any error of a scatterer's position."""


def stacked(scans: Sequence[Maps], energy_mev: Sequence[float] | None = None) -> Maps:
    """Join single maps of one frame to a stack, with the bias as its axis.

    Parameters
    ----------
    scans
        Two or more measurements without an axis and without steps.
    energy_mev
        Energy of each in meV, relative to the Fermi level, where the files do not tell the bias of their set points.

    Returns
    -------
    Maps
        The channels that all of them have, as layers of ascending bias; if every file has one channel only, these.
        The metadata have the file of each layer with its SHA-256, told energies, and what all files say alike. The
        SHA-256 of the source is that of theirs and of the energies, in the order of the layers.

    Raises
    ------
    UsageError
        If there are fewer than two, one is a stack or has steps, or a told energy is not that of its file.
    InvalidDataError
        If the frames differ, two files are the same, no channel is in all of them, or the energies are unknown, not
        finite or not distinct.
    """
    if len(scans) < 2:
        raise UsageError(f"A stack needs two maps at least, found {len(scans)}.")
    for scan in scans:
        if scan.axis is not None:
            raise UsageError(f"'{scan.source.file}' is a stack already; only single maps can be joined.")
        if scan.steps:
            raise UsageError(
                f"'{scan.source.file}' was prepared; join the maps as they were measured, then prepare them."
            )
        _check_frame(scan, scans[0])
    for one, other in combinations(scans, 2):
        if one.source.sha256 == other.source.sha256:
            raise InvalidDataError(f"'{one.source.file}' and '{other.source.file}' are the same file.")
    energies = _energies(scans, energy_mev)
    order = np.argsort(energies)
    layers = [scans[place] for place in order]
    digest = hashlib.sha256(
        "".join(one.source.sha256 for one in layers).encode() + energies[order].astype("<f8").tobytes()
    )
    channels, left = _channels(layers)
    warnings = [f"{one.source.file}: {each}" for one in layers for each in one.warnings]
    if left:
        warnings.append(
            f"Channels that not all files have, or in other units, are left out: {', '.join(sorted(left))}."
        )
    first = layers[0]
    common = {
        key: value for key, value in first.metadata.items() if all(one.metadata.get(key) == value for one in layers)
    }
    told = {} if energy_mev is None else {"told energies in meV": str(energies[order].tolist())}
    files = {f"layer {number}": f"{one.source.file}, SHA-256 {one.source.sha256}" for number, one in enumerate(layers)}
    return Maps(
        grid=first.grid,
        channels=channels,
        source=Source(
            file=f"{first.source.file} and {counted(len(layers) - 1, 'other')}",
            format="stack of single maps",
            sha256=digest.hexdigest(),
        ),
        axis=bias_axis(energies[order]),
        centre_nm=first.centre_nm,
        angle_deg=first.angle_deg,
        scan_direction=first.scan_direction if len({one.scan_direction for one in layers}) == 1 else None,
        metadata=common | told | files,
        warnings=tuple(warnings),
    )


def only(scan: Maps, channel: str) -> Maps:
    """The maps of one channel, in every direction, by its name or label.

    Raises
    ------
    UsageError
        If there is no such channel.
    """
    scan.channel(channel)  # refuses one that is not there
    wanted = channel.strip().lower()
    return replace(
        scan, channels=tuple(one for one in scan.channels if wanted in (one.name.lower(), one.label.lower()))
    )


def _check_frame(scan: Maps, first: Maps) -> None:
    """Refuse a frame that puts a corner elsewhere than the first one."""
    pixel = min(first.grid.pitch_x_nm, first.grid.pitch_y_nm)
    apart = np.abs(_corners_nm(scan) - _corners_nm(first)).max()
    if scan.grid.shape != first.grid.shape or not apart <= _WITHIN_PX * pixel:
        raise InvalidDataError(
            f"'{scan.source.file}' has another frame than '{first.source.file}': {_frame(scan)} for {_frame(first)}."
        )


def _corners_nm(scan: Maps) -> NDArray[np.float64]:
    """Upper right and lower right corner in the scanner's coordinates: (corner, xy)."""
    angle = np.deg2rad(scan.angle_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = np.array([[1, 1], [1, -1]]) * [scan.grid.size_x_nm / 2, scan.grid.size_y_nm / 2]
    return np.asarray(scan.centre_nm + corners @ turn.T)


def _frame(scan: Maps) -> str:
    grid, (x, y) = scan.grid, scan.centre_nm
    return (
        f"{grid.nx} x {grid.ny} points, {grid.size_x_nm:.6g} x {grid.size_y_nm:.6g} nm at ({x:.6g}, {y:.6g}) nm, turned"
        f" by {scan.angle_deg:g} degrees"
    )


def _energies(scans: Sequence[Maps], told: Sequence[float] | None) -> NDArray[np.float64]:
    if told is None:
        biases = [scan.set_point_bias_v for scan in scans]
        for scan, bias in zip(scans, biases, strict=True):
            if bias is None:
                raise InvalidDataError(
                    f"'{scan.source.file}' does not tell its bias; give the energies of all files"
                    " (energy_mev; --energies)."
                )
        energies = 1e3 * np.array(biases, np.float64)
    else:
        energies = np.asarray(told, np.float64)
        if energies.shape != (len(scans),):
            raise UsageError(f"There are {len(scans)} files; give as many energies, found {energies.size}.")
        for scan, energy in zip(scans, energies, strict=True):
            bias = scan.set_point_bias_v
            if bias is not None and not np.isclose(energy, 1e3 * bias, rtol=1e-6, atol=1e-6):
                raise UsageError(f"'{scan.source.file}' tells its bias itself, {1e3 * bias:g} mV, not {energy:g} mV.")
    if not np.isfinite(energies).all():
        raise InvalidDataError("The energies of a stack must be finite numbers.")
    order = np.argsort(energies)
    for one, other in pairwise(order):
        if energies[one] == energies[other]:
            raise InvalidDataError(
                f"'{scans[one].source.file}' and '{scans[other].source.file}' are both at {energies[one]:g} meV; a"
                " stack has one map at each energy."
            )
    return energies


def _channels(layers: Sequence[Maps]) -> tuple[tuple[Channel, ...], set[str]]:
    """The channels that all maps have in one unit, and the labels of the others."""
    if all(len(one.channels) == 1 for one in layers) and len({one.channels[0].unit for one in layers}) == 1:
        names = {one.channels[0].name for one in layers}  # that of the file, where the format has no names
        name = names.pop() if len(names) == 1 else "Map"
        layers = [replace(one, channels=(replace(one.channels[0], name=name),)) for one in layers]
    by_label = [{channel.label: channel for channel in one.channels} for one in layers]
    labels = [
        label
        for label, channel in by_label[0].items()
        if all(label in each and each[label].unit == channel.unit for each in by_label)
    ]
    left = {label for each in by_label for label in each} - set(labels)
    if not labels:
        raise InvalidDataError(
            f"No channel is in all files with one unit; their channels are {', '.join(sorted(left))}."
        )
    joined = []
    for label in labels:
        first = by_label[0][label]
        values = np.stack([each[label].values for each in by_label])
        joined.append(Channel(name=first.name, unit=first.unit, values=values, direction=first.direction))
    return tuple(joined), left
