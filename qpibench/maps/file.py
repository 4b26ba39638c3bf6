"""The package's own file of maps: HDF5 that follows the netCDF-4 model.

The coordinates ``x`` and ``y`` are in nm, with y pointing up. The axis has its own name and unit; a bias has the
coordinate ``energy`` in meV beside it. Every channel is a variable in the precision of the measurement, with the
attributes ``channel``, ``direction`` and ``units``. Attributes of the root group have the other facts about the maps;
lists and mappings are JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from qpibench import __version__
from qpibench.errors import InvalidDataError, UsageError
from qpibench.files import unreadable, write_whole
from qpibench.grid import Grid
from qpibench.maps.measurement import Axis, Channel, Maps, Source, Step
from qpibench.parsing import parse_json

FORMAT = "qpibench maps"
VERSION = 1
"""Version of the layout; a reader refuses newer ones."""

# The format of HDF5 1.8, as for releases: all readers know it, and its metadata have checksums. Texts have a fixed
# length, because HDF5 keeps others in a heap without a checksum.
_LIBVER = ("v108", "v110")


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
    # HDF5 writes to memory first, because it crashes on a full disk.
    with h5py.File("maps", "w", driver="core", backing_store=False, libver=_LIBVER, track_order=True) as file:
        _fill(file, maps)
        file.flush()
        content = file.id.get_file_image()
    write_whole(path, content, what="Maps")


def is_maps_file(path: Path) -> bool:
    """Whether a file is one that :func:`write_maps` has written, in any version."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return _text_of(file, "format") == FORMAT
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
    path = Path(path)
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        with h5py.File(path, "r", locking=False) as file:
            if _text_of(file, "format") != FORMAT:
                raise InvalidDataError(f"'{path}' is not a file of maps that qpibench has written.")
            version = int(file.attrs["format_version"])
            if version > VERSION:
                raise InvalidDataError(
                    f"'{path}' has version {version} of the files of maps, up to {VERSION} can be read; update"
                    " qpibench."
                )
            return _maps(path, file)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InvalidDataError(f"'{path}' is truncated or damaged: {reason}.") from None


def _fill(file: h5py.File, maps: Maps) -> None:
    grid = maps.grid
    _set(
        file,
        format=FORMAT,
        package_version=__version__,
        source_file=maps.source.file,
        source_format=maps.source.format,
        source_sha256=maps.source.sha256,
        metadata=_json(dict(maps.metadata)),
        steps=_json([asdict(step) for step in maps.steps]),
        warnings=_json(list(maps.warnings)),
        scan_direction=maps.scan_direction or "",
    )
    file.attrs["format_version"] = VERSION
    file.attrs["size_nm"] = np.array([grid.size_x_nm, grid.size_y_nm])
    file.attrs["centre_nm"] = np.array(maps.centre_nm, np.float64)
    file.attrs["angle_deg"] = float(maps.angle_deg)
    dims = {"y": _coordinate(file, "y", grid.y_nm, "nm"), "x": _coordinate(file, "x", grid.x_nm, "nm")}
    axis_name = ""
    if maps.axis is not None:
        axis_name = _free(file, maps.axis.name or "axis")
        scale = _coordinate(file, axis_name, maps.axis.values, maps.axis.unit)
        _set(scale, axis=maps.axis.name)
        dims = {axis_name: scale, **dims}
        if (energy := _energy(maps.axis)) is not None:
            energy_name = _free(file, "energy")
            _variable(file, energy_name, energy, {axis_name: scale}, units="meV")
            _set(file, coordinates=energy_name)
    names = []
    for channel in maps.channels:
        names.append(_free(file, channel.label))
        used = dims if channel.values.ndim == 3 else {name: dims[name] for name in ("y", "x")}
        _variable(
            file,
            names[-1],
            channel.values,
            used,
            units=channel.unit,
            long_name=channel.label,
            channel=channel.name,
            direction=channel.direction or "",
        )
    _set(file, axis=axis_name, channels=_json(names))


def _maps(path: Path, file: h5py.File) -> Maps:
    width, height = (float(size) for size in file.attrs["size_nm"])
    x, y = (float(each) for each in file.attrs["centre_nm"])
    axis = None
    if axis_name := _text(file, "axis"):
        scale = file[axis_name]
        axis = Axis(name=_text(scale, "axis"), unit=_text(scale, "units"), values=_checked(file, axis_name))
    channels = []
    for name in _from_json(path, file, "channels"):
        stored = file[name]
        channels.append(
            Channel(
                name=_text(stored, "channel"),
                unit=_text(stored, "units"),
                values=_checked(file, name),
                direction=cast(Any, _text(stored, "direction") or None),
            )
        )
    return Maps(
        grid=Grid(ny=len(file["y"]), nx=len(file["x"]), size_y_nm=height, size_x_nm=width),
        channels=tuple(channels),
        source=Source(
            file=_text(file, "source_file"), format=_text(file, "source_format"), sha256=_text(file, "source_sha256")
        ),
        axis=axis,
        centre_nm=(x, y),
        angle_deg=float(file.attrs["angle_deg"]),
        scan_direction=cast(Any, _text(file, "scan_direction") or None),
        metadata=_from_json(path, file, "metadata"),
        steps=tuple(Step(**step) for step in _from_json(path, file, "steps")),
        warnings=tuple(_from_json(path, file, "warnings")),
    )


def _energy(axis: Axis) -> NDArray[np.float64] | None:
    try:
        return axis.energy_mev
    except InvalidDataError:
        return None


def _coordinate(file: h5py.File, name: str, values: NDArray[np.float64], unit: str) -> h5py.Dataset:
    dataset = file.create_dataset(name, data=np.asarray(values, np.float64))
    dataset.make_scale(name)
    _set(dataset, units=unit, sha256=_digest(dataset[()]))
    return dataset


def _variable(
    file: h5py.File, name: str, values: NDArray[Any], dims: Mapping[str, h5py.Dataset], **attributes: str
) -> None:
    dataset = file.create_dataset(name, data=values)
    for place, scale in enumerate(dims.values()):
        dataset.dims[place].attach_scale(scale)
    _set(dataset, **attributes, sha256=_digest(values))


def _checked(file: h5py.File, name: str) -> NDArray[Any]:
    """The values of a dataset, if they have the digest that was stored with them."""
    dataset = file[name]
    values: NDArray[Any] = dataset[()]
    if _digest(values) != _text(dataset, "sha256"):
        raise ValueError(f"the values of {name} have changed since they were written")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _digest(values: NDArray[Any]) -> str:
    """SHA-256 of the values in C order, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data).hexdigest()


def _free(file: h5py.File, label: str) -> str:
    """A name of a variable that netCDF allows and the file does not have yet."""
    shown = "".join(each if each.isprintable() and each != "/" else ":" for each in label).strip()
    name = shown if shown and (shown[0].isalnum() or shown[0] == "_") else f"_{shown}"
    free, count = name, 1
    while free in file:
        count += 1
        free = f"{name}_{count}"
    return free


def _set(item: h5py.File | h5py.Dataset, **attributes: str) -> None:
    for name, value in attributes.items():
        encoded = value.encode("utf-8", "replace")
        item.attrs[name] = np.array(encoded, h5py.string_dtype("utf-8", max(1, len(encoded))))


def _text(item: h5py.File | h5py.Dataset, name: str) -> str:
    text = _text_of(item, name)
    if text is None:
        raise KeyError(f"the attribute {name} is missing")
    return text


def _text_of(item: h5py.File | h5py.Dataset, name: str) -> str | None:
    value = item.attrs.get(name)
    value = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"Maps cannot be written: their metadata or steps are not what JSON can hold ({error})."
        ) from None


def _from_json(path: Path, file: h5py.File, name: str) -> Any:
    return parse_json(_text(file, name), f"'{path}' is damaged: its attribute {name}")
