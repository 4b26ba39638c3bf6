"""Reads Gwyddion's native files through gwyfile: every data field with its title, size and unit.

Gwyddion's first row is the top, and its sizes cover all pixels, so the first and the last are one pixel less apart. A
mask becomes a channel of its own: nothing in the file tells whether it marks points that are invalid.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from qpibench.errors import InvalidDataError
from qpibench.extras import optional_module
from qpibench.maps import Source
from qpibench.maps.arrays import Array, Arrays
from qpibench.maps.measurement import Direction
from qpibench.maps.units import in_nm

FORMAT = "Gwyddion"
SUFFIXES = (".gwy",)

_FIELD = re.compile(r"/(\d+)/(data|mask)")
_DIRECTION = re.compile(r"(.+?)\s*[(\[]\s*(forward|backward)\s*[)\]]", re.IGNORECASE)


def read(path: Path, source: Source) -> Arrays:
    """Read a file; see :class:`qpibench.readers.maps.MapsReader`."""
    content = path.read_bytes()
    container = _container(path, content)
    arrays, warnings, centres = [], [], []
    for key, (number, kind) in sorted(_fields(container).items(), key=lambda item: (int(item[1][0]), item[1][1])):
        title = str(container.get(f"/{number}/data/title") or f"data {number}")
        try:
            array, centre = _array(path, container[key], title if kind == "data" else f"{title} mask")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidDataError(f"'{path}' is damaged: its data field {key} cannot be read ({error}).") from None
        if array is None:
            warnings.append(f"'{title}' is left out: its lateral unit is none of length.")
            continue
        if kind == "mask":
            warnings.append(f"The mask of '{title}' is a channel; the file does not tell what it marks.")
        arrays.append(array)
        centres.append(centre)
    if any(str(key).startswith("/brick/") for key in container):
        warnings.append("Volume data of the file are left out.")
    return Arrays(
        arrays=tuple(arrays),
        source=source,
        centre_nm=centres[0] if centres else (0.0, 0.0),
        metadata=_metadata(container),
        warnings=tuple(warnings),
    )


def _container(path: Path, content: bytes) -> Mapping[str, Any]:
    optional_module("gwyfile", f"Reading '{path.name}'")
    from gwyfile.objects import GwyObject

    begin = content.find(b"\0")
    if not content.startswith(b"GWYP") or content[4:begin] != b"GwyContainer":
        raise InvalidDataError(f"'{path}' is no file of Gwyddion, or its beginning is damaged.")
    told = struct.unpack("<I", content[begin + 1 : begin + 5])[0] if len(content) >= begin + 5 else 1
    if len(content) < begin + 5 + told:
        raise InvalidDataError(
            f"'{path}' is truncated: it has {len(content)} bytes, {begin + 5 + told} are expected; copy it again."
        )
    try:
        return cast(Mapping[str, Any], GwyObject.frombuffer(content[4:]))
    except Exception as error:  # gwyfile checks nothing, so damage surfaces as errors of many kinds
        raise InvalidDataError(f"'{path}' is damaged: {' '.join(str(error).split())}.") from None


def _fields(container: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Keys of the data fields with their number and kind."""
    found = {key: _FIELD.fullmatch(key) for key in container}
    return {key: (match[1], match[2]) for key, match in found.items() if match is not None}


def _array(path: Path, field: Any, title: str) -> tuple[Array | None, tuple[float, float]]:
    nx, ny = int(field["xres"]), int(field["yres"])
    values = np.asarray(field["data"])
    if nx < 2 or ny < 2 or values.shape != (nx * ny,):
        raise InvalidDataError(f"'{path}': '{title}' has {values.size} numbers, {nx} x {ny} are expected.")
    lateral = _unit(field, "si_unit_xy")
    scale = in_nm(lateral) if lateral else None
    if lateral and scale is None:
        return None, (0.0, 0.0)
    size, centre = None, (0.0, 0.0)
    if scale is not None:
        width, height = float(field["xreal"]) * scale, float(field["yreal"]) * scale
        size = width * (nx - 1) / nx, height * (ny - 1) / ny
        centre = float(field.get("xoff", 0)) * scale + width / 2, float(field.get("yoff", 0)) * scale + height / 2
    named = _DIRECTION.fullmatch(title)
    return (
        Array(
            name=title if named is None else named[1],
            direction=None if named is None else cast(Direction, named[2].lower()),
            unit=_unit(field, "si_unit_z"),
            values=values.reshape(ny, nx),
            size_nm=size,
            first_row="top",
        ),
        centre,
    )


def _unit(field: Any, name: str) -> str:
    unit = field.get(name)
    return "" if unit is None else str(unit.get("unitstr", ""))


def _metadata(container: Mapping[str, Any]) -> dict[str, str]:
    """Texts that the file has beside its data fields, those of all fields in one."""
    found: dict[str, str] = {}
    for key, value in container.items():
        if re.fullmatch(r"/\d+/meta", key) and isinstance(value, Mapping):
            for name, text in value.items():
                found.setdefault(str(name), str(text))
    return found
