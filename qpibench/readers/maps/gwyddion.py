"""Reads Gwyddion's native files: every data field with its title, size and unit.

Gwyddion's first row is the top, and its sizes cover all pixels, so the first and the last are one pixel less apart. A
mask becomes a channel of its own: nothing in the file tells whether it marks points that are invalid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from qpibench.errors import InvalidDataError
from qpibench.maps import Source
from qpibench.maps.arrays import Array, Arrays
from qpibench.maps.measurement import Direction
from qpibench.maps.units import in_nm
from qpibench.readers import gwyddion_objects
from qpibench.readers.gwyddion_objects import Object

FORMAT = "Gwyddion"
SUFFIXES = (".gwy",)

_FIELD = re.compile(r"/(\d+)/(data|mask)")
_DIRECTION = re.compile(r"(.+?)\s*[(\[]\s*(forward|backward)\s*[)\]]", re.IGNORECASE)


def read(path: Path, source: Source) -> Arrays:
    """Read a file; see :class:`qpibench.readers.maps.MapsReader`."""
    container = _container(path)
    arrays, warnings = [], []
    for key, (number, kind) in sorted(_fields(container).items(), key=lambda item: (int(item[1][0]), item[1][1])):
        title = " ".join(str(container.get(f"/{number}/data/title", "")).split()) or f"data {number}"
        try:
            array = _array(path, container[key], title if kind == "data" else f"{title} mask")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidDataError(f"'{path}' is damaged: its data field {key} cannot be read ({error}).") from None
        if array is None:
            warnings.append(f"'{title}' is left out: its lateral unit is none of length.")
            continue
        if kind == "mask":
            warnings.append(f"The mask of '{title}' is a channel; the file does not tell what it marks.")
        arrays.append(array)
    if any(str(key).startswith("/brick/") for key in container):
        warnings.append("Volume data of the file are left out.")
    return Arrays(
        arrays=tuple(arrays),
        source=source,
        metadata=_metadata(container),
        warnings=tuple(warnings),
    )


def _container(path: Path) -> dict[str, Any]:
    try:
        container = gwyddion_objects.parse(path.read_bytes())
        if container.name != "GwyContainer":
            raise ValueError("it has no container of data")
    except ValueError as error:
        raise InvalidDataError(f"'{path}' is no file of Gwyddion, truncated or damaged: {error}.") from None
    return container.members


def _fields(container: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Keys of the data fields with their number and kind."""
    found = {key: _FIELD.fullmatch(key) for key in container}
    return {key: (match[1], match[2]) for key, match in found.items() if match is not None}


def _array(path: Path, field: Object, title: str) -> Array | None:
    nx, ny = int(field.members["xres"]), int(field.members["yres"])
    values = np.asarray(field.members["data"])
    if nx < 2 or ny < 2 or values.shape != (nx * ny,):
        raise InvalidDataError(f"'{path}': '{title}' has {values.size} numbers, {nx} x {ny} are expected.")
    lateral = _unit(field, "si_unit_xy")
    scale = in_nm(lateral) if lateral else None
    if lateral and scale is None:
        return None
    size, centre = None, (0.0, 0.0)
    if scale is not None:
        width, height = (float(field.members[name]) * scale for name in ("xreal", "yreal"))
        size = width * (nx - 1) / nx, height * (ny - 1) / ny
        # Gwyddion's y points down.
        centre = float(field.get("xoff", 0)) * scale + width / 2, -float(field.get("yoff", 0)) * scale - height / 2
    named = _DIRECTION.fullmatch(title)
    return Array(
        name=title if named is None else named[1],
        direction=None if named is None else cast(Direction, named[2].lower()),
        unit=_unit(field, "si_unit_z"),
        values=values.reshape(ny, nx),
        size_nm=size,
        first_row="top",
        centre_nm=centre,
    )


def _unit(field: Object, name: str) -> str:
    unit = field.get(name)
    return str(unit.get("unitstr", "")) if isinstance(unit, Object) else ""


def _metadata(container: Mapping[str, Any]) -> dict[str, str]:
    """Texts that the file has beside its data fields, those of all fields in one."""
    found: dict[str, str] = {}
    for key, value in container.items():
        if re.fullmatch(r"/\d+/meta", key) and isinstance(value, Object):
            for name, text in value.members.items():
                found.setdefault(str(name), str(text))
    return found
