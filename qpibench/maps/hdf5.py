"""Elements of HDF5 files that follow the netCDF-4 model: coordinates, variables, and attributes that are text."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, UsageError, reason
from qpibench.files import unreadable
from qpibench.hdf5_values import held_values
from qpibench.maps.measurement import Axis, Source
from qpibench.parsing import cut, parse_json

# The format of HDF5 1.8, as for releases: all readers know it, and most of its metadata have checksums. Those of many
# attributes do not, nor do numbers, so the file has hashes of its own.
_LIBVER = ("v108", "v110")

_HASH = "content_sha256"
_OF_HDF5 = frozenset({"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", _HASH})


def file_content(fill: Callable[[h5py.File], None]) -> bytes:
    """Return the bytes of a file that a function fills; the hash of all its attributes is added."""
    # HDF5 writes to memory first, because it crashes on a full disk. Its own file in memory does not do: HDF5 1.14.2
    # returns an image with a wrong checksum.
    content = io.BytesIO()
    with h5py.File(content, "w", libver=_LIBVER, track_order=True) as file:
        fill(file)
        set_texts(file, **{_HASH: _content_digest(file)})
    return content.getvalue()


@contextmanager
def opened(path: Path, file_format: str, version: int, *, what: str) -> Iterator[h5py.File]:
    """Open a file of a format for reading.

    Parameters
    ----------
    path
        The file.
    file_format, version
        Its attribute ``format``, and the newest ``format_version`` that can be read.
    what
        Its content, such as ``maps``.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If it has another format or a newer version, or turns out to be damaged while it is read.
    QpibenchError
        If it cannot be read.
    """
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise unreadable(path, error) from error
    if not h5py.is_hdf5(path):
        raise InvalidDataError(f"'{path}' is no HDF5 file, as files of {what} are, or its beginning is damaged.")
    try:
        with h5py.File(path, "r", locking=False) as file:
            if (own := text_of(file, "format")) != file_format:
                other = f"; its format is '{cut(own)}'" if own else ""
                raise InvalidDataError(f"'{path}' is not a file of {what} that qpibench has written{other}.")
            if (found := int(file.attrs["format_version"])) > version:
                raise InvalidDataError(
                    f"'{path}' has version {found} of the files of {what}, up to {version} can be read; update"
                    " qpibench."
                )
            if _content_digest(file) != text(file, _HASH):
                raise ValueError("its attributes have changed since they were written")
            for name in file:
                if file[name].ndim == 1:  # coordinates; larger arrays are compared when they are read
                    checked_values(file, name)
            yield file
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InvalidDataError(f"'{path}' is truncated or damaged: {reason(error)}.") from None


def coordinate(file: h5py.File, name: str, values: NDArray[np.float64], unit: str) -> h5py.Dataset:
    """Write a coordinate (point,), which a dimension of variables refers to."""
    dataset = file.create_dataset(name, data=np.asarray(values, np.float64))
    dataset.make_scale(name)
    set_texts(dataset, units=unit, sha256=_digest(dataset[()]))
    return dataset


def variable(
    file: h5py.File, name: str, values: NDArray[Any], dims: Mapping[str, h5py.Dataset], **attributes: str
) -> None:
    """Write a variable whose dimensions have coordinates, with attributes that are text."""
    dataset = file.create_dataset(name, data=values)
    for place, scale in enumerate(dims.values()):
        dataset.dims[place].attach_scale(scale)
    set_texts(dataset, **attributes, sha256=_digest(values))


def checked_values(file: h5py.File, name: str) -> NDArray[Any]:
    """The values of a dataset, if they have the digest that was stored with them.

    Raises
    ------
    ValueError
        If they have not.
    """
    dataset = file[name]
    values = held_values(dataset)
    if _digest(values) != text(dataset, "sha256"):
        raise ValueError(f"the values of {name} have changed since they were written")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _content_digest(file: h5py.File) -> str:
    """SHA-256 of all attributes but its own; among those of variables are the hashes of their values."""
    facts = {name: _facts(file[name]) for name in file} | {"/": _facts(file)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _facts(item: h5py.File | h5py.Dataset) -> dict[str, Any]:
    texts = {name: text_of(item, name) for name in item.attrs if name not in _OF_HDF5}
    return {name: np.asarray(item.attrs[name]).tolist() if found is None else found for name, found in texts.items()}


def _digest(values: NDArray[Any]) -> str:
    """SHA-256 of the values in C order, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data).hexdigest()


def write_source(file: h5py.File, source: Source) -> None:
    """Write where the measured values are from, as attributes."""
    set_texts(file, source_file=source.file, source_format=source.format, source_sha256=source.sha256)


def source_of(file: h5py.File) -> Source:
    """Where the measured values are from."""
    return Source(**{name: text(file, f"source_{name}") for name in ("file", "format", "sha256")})


def write_axis(file: h5py.File, axis: Axis | None) -> dict[str, h5py.Dataset]:
    """Write an axis as a coordinate, and return it by its name in the file; nothing for None."""
    name = "" if axis is None else free_name(file, axis.name or "axis")
    set_texts(file, axis=name)
    if axis is None:
        return {}
    scale = coordinate(file, name, axis.values, axis.unit)
    set_texts(scale, axis=axis.name)
    return {name: scale}


def axis_of(file: h5py.File) -> Axis | None:
    """The axis; None if there is none."""
    if not (name := text(file, "axis")):
        return None
    return Axis(name=text(file[name], "axis"), unit=text(file[name], "units"), values=checked_values(file, name))


def free_name(file: h5py.File, label: str) -> str:
    """A name of a variable that netCDF allows and the file does not have yet."""
    shown = "".join(each if each.isprintable() and each != "/" else ":" for each in label).strip()
    name = shown if shown and (shown[0].isalnum() or shown[0] == "_") else f"_{shown}"
    free, count = name, 1
    while free in file:
        count += 1
        free = f"{name}_{count}"
    return free


def set_texts(item: h5py.File | h5py.Dataset, **attributes: str) -> None:
    """Set attributes that are text."""
    for name, value in attributes.items():
        encoded = value.encode("utf-8", "replace")
        item.attrs[name] = np.array(encoded, h5py.string_dtype("utf-8", max(1, len(encoded))))


def text(item: h5py.File | h5py.Dataset, name: str) -> str:
    """An attribute that is text; KeyError if there is none."""
    found = text_of(item, name)
    if found is None:
        raise KeyError(f"the attribute {name} is missing")
    return found


def text_of(item: h5py.File | h5py.Dataset, name: str) -> str | None:
    """An attribute that is text; None if there is none."""
    value = item.attrs.get(name)
    value = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def to_json(value: Any, what: str) -> str:
    """Lists and mappings as the text of an attribute.

    Parameters
    ----------
    value
        The lists and mappings.
    what
        What they are, in the plural, for the message.

    Raises
    ------
    UsageError
        If they hold what JSON cannot.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"The file cannot be written: its {what} are not what JSON can hold ({error}).") from None


def from_json(path: Path, file: h5py.File, name: str) -> Any:
    """Lists and mappings from the text of an attribute."""
    return parse_json(text(file, name), f"'{path}' is damaged: its attribute {name}")
