"""The package's own file of maps: HDF5 that follows the netCDF-4 model.

The coordinates ``x`` and ``y`` are in nm, with y pointing up. The axis has its own name and unit; a bias has the
coordinate ``energy`` in meV beside it. Every channel is a variable in the precision of the measurement, with the
attributes ``channel``, ``direction`` and ``units``. Attributes of the root group have the other facts about the maps;
lists and mappings are JSON.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from qpibench import __version__
from qpibench.errors import InvalidDataError
from qpibench.files import write_whole
from qpibench.grid import Grid
from qpibench.maps.hdf5 import (
    axis_of,
    checked_values,
    coordinate,
    file_content,
    free_name,
    from_json,
    opened,
    set_texts,
    source_of,
    text,
    to_json,
    variable,
    write_axis,
    write_source,
)
from qpibench.maps.measurement import Axis, Channel, Maps, Step

FORMAT = "qpibench maps"
VERSION = 1
"""Version of the layout; a reader refuses newer ones."""

OWN = frozenset({"source_format", "source_sha256", "scan_direction"})
"""Attributes of the root group that only files of this package have."""


def write_maps(maps: Maps, path: str | Path) -> None:
    """Write maps to a file, whole or not at all; :func:`read` returns them as they were.

    Parameters
    ----------
    maps
        The maps. The settings of their steps must be what JSON can hold.
    path
        The file; an existing one is replaced.

    Raises
    ------
    UsageError
        As :func:`qpibench.files.check_file`.
    QpibenchError
        If writing fails, as on a full disk.
    """
    write_whole(path, file_content(lambda file: _fill(file, maps)), what="Maps")


def is_maps_file(path: Path) -> bool:
    """Whether a file is one that :func:`write_maps` has written, in any version."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return not OWN.isdisjoint(file.attrs)  # also if the text of one is damaged
    except (OSError, RuntimeError, KeyError, TypeError, ValueError):
        return False


def read(path: str | Path) -> Maps:
    """Read maps that :func:`write_maps` has written.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If it has another format, is damaged, or has a newer version.
    QpibenchError
        If it cannot be read.
    """
    with opened(Path(path), FORMAT, VERSION, what="maps") as file:
        return _maps(Path(path), file)


def _fill(file: h5py.File, maps: Maps) -> None:
    grid = maps.grid
    set_texts(
        file,
        format=FORMAT,
        package_version=__version__,
        metadata=to_json(dict(maps.metadata), "metadata"),
        steps=to_json([asdict(step) for step in maps.steps], "steps"),
        warnings=to_json(list(maps.warnings), "warnings"),
        scan_direction=maps.scan_direction or "",
    )
    write_source(file, maps.source)
    file.attrs["format_version"] = VERSION
    file.attrs["size_nm"] = np.array([grid.size_x_nm, grid.size_y_nm])
    file.attrs["centre_nm"] = np.array(maps.centre_nm, np.float64)
    file.attrs["angle_deg"] = float(maps.angle_deg)
    dims = {"y": coordinate(file, "y", grid.y_nm, "nm"), "x": coordinate(file, "x", grid.x_nm, "nm")}
    layers = write_axis(file, maps.axis)
    if maps.axis is not None and (energy := _energy(maps.axis)) is not None:
        energy_name = free_name(file, "energy")
        variable(file, energy_name, energy, layers, units="meV")
        set_texts(file, coordinates=energy_name)
    dims = {**layers, **dims}
    names = []
    for channel in maps.channels:
        names.append(free_name(file, channel.label))
        used = dims if channel.values.ndim == 3 else {name: dims[name] for name in ("y", "x")}
        variable(
            file,
            names[-1],
            channel.values,
            used,
            units=channel.unit,
            long_name=channel.label,
            channel=channel.name,
            direction=channel.direction or "",
        )
    set_texts(file, channels=to_json(names, "channels"))


def _maps(path: Path, file: h5py.File) -> Maps:
    width, height = (float(size) for size in file.attrs["size_nm"])
    x, y = (float(each) for each in file.attrs["centre_nm"])
    channels = []
    for name in from_json(path, file, "channels"):
        stored = file[name]
        channels.append(
            Channel(
                name=text(stored, "channel"),
                unit=text(stored, "units"),
                values=checked_values(file, name),
                direction=cast(Any, text(stored, "direction") or None),
            )
        )
    return Maps(
        grid=Grid(ny=len(file["y"]), nx=len(file["x"]), size_y_nm=height, size_x_nm=width),
        channels=tuple(channels),
        source=source_of(file),
        axis=axis_of(file),
        centre_nm=(x, y),
        angle_deg=float(file.attrs["angle_deg"]),
        scan_direction=cast(Any, text(file, "scan_direction") or None),
        metadata=from_json(path, file, "metadata"),
        steps=tuple(Step(**step) for step in from_json(path, file, "steps")),
        warnings=tuple(from_json(path, file, "warnings")),
    )


def _energy(axis: Axis) -> NDArray[np.float64] | None:
    try:
        return axis.energy_mev
    except InvalidDataError:
        return None
