"""Scans of Nanonis, version 2 of the format (``.sxm``).

A text header of blocks ``:KEY:`` and lines is followed by a marker and 4-byte floats: for every channel the forward and
the backward image, or one of them. The lines are stored in the order in which they were measured, and the points of a
line too: a downward scan begins with the highest line, a backward line with its right end. Lines that were not
measured are NaN.
"""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qpibench.counting import agreeing, counted
from qpibench.errors import InvalidDataError
from qpibench.maps import Channel, Maps, Source
from qpibench.maps.measurement import Direction
from qpibench.parsing import cut
from qpibench.readers.nanonis import (
    frame,
    nanometres,
    natural,
    numbers,
    read_numbers,
    split_header,
    with_labels_of_their_own,
)

FORMAT = "Nanonis scan"
SUFFIXES = (".sxm",)

_DIRECTIONS: dict[str, tuple[Direction, ...]] = {
    "both": ("forward", "backward"),
    "forward": ("forward",),
    "fwd": ("forward",),
    "backward": ("backward",),
    "bwd": ("backward",),
}
_ORDERS = {"MSBFIRST": np.dtype(">f4"), "LSBFIRST": np.dtype("<f4")}


def read(path: Path, source: Source) -> Maps:
    """Read a scan; see :class:`qpibench.readers.maps.MapsReader`."""
    text, offset = split_header(
        path, begins=b":NANONIS_VERSION:", ends=rb"(?m)^:SCANIT_END:\s*?\x1a\x04", what="Nanonis scan"
    )
    header = _blocks(text)
    if (version := header.get("NANONIS_VERSION", "").strip()) != "2":
        raise InvalidDataError(
            f"'{path.name}' has version '{cut(version)}' of the format of Nanonis scans; version 2 was expected."
        )
    nx, ny = natural(path, header, "SCAN_PIXELS", 2)
    width, height = numbers(path, header, "SCAN_RANGE", 2)
    grid = frame(path, (nx, ny), (width, height))
    warnings: list[str] = []
    centre = _told(path, header, "SCAN_OFFSET", 2, warnings)
    (angle,) = _told(path, header, "SCAN_ANGLE", 1, warnings)
    scan_direction = _scan_direction(path, header, warnings)

    recorded = _recorded(path, header)
    images = _images(path, offset, header, recorded, (ny, nx), warnings)
    if scan_direction == "down":
        images = images[:, ::-1]
    channels = []
    for (name, unit, direction), image in zip(recorded, images, strict=True):
        values = image[:, ::-1] if direction == "backward" else image
        channels.append(Channel(name=name, unit=unit, values=np.ascontiguousarray(values), direction=direction))
    kept = with_labels_of_their_own(channels)
    warnings += _unmeasured(kept, ny)
    return Maps(
        grid=grid,
        channels=kept,
        source=source,
        centre_nm=(nanometres(centre[0]), nanometres(centre[1])),
        angle_deg=float(angle),
        scan_direction=scan_direction,
        metadata=header | _set_point(header, warnings),
        warnings=tuple(warnings),
    )


def _blocks(text: str) -> dict[str, str]:
    """Return the lines of every block, joined; blocks of the same key too."""
    blocks: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.lstrip().split("\n"):
        if len(line) > 2 and line.startswith(":") and line.rstrip().endswith(":"):
            lines = blocks.setdefault(line.rstrip()[1:-1], [])
        else:
            lines.append(line)
    return {key: "\n".join(lines).strip("\n") for key, lines in blocks.items()}


def _told(path: Path, header: dict[str, str], key: str, count: int, warnings: list[str]) -> list[Decimal]:
    """Return numbers that are 0 if the header lacks them."""
    if key not in header:
        warnings.append(f"The header of {path.name} has no '{key}'; 0 is taken.")
        return [Decimal(0)] * count
    return numbers(path, header, key, count)


def _scan_direction(path: Path, header: dict[str, str], warnings: list[str]) -> Literal["up", "down"] | None:
    match header.get("SCAN_DIR", "").strip().lower():
        case "up":
            return "up"
        case "down":
            return "down"
        case "":
            warnings.append(f"The header of {path.name} has no 'SCAN_DIR'; the first line is taken for the lowest.")
            return None
        case other:
            raise InvalidDataError(
                f"The header of '{path.name}' has '{cut(other)}' as 'SCAN_DIR'; 'up' or 'down' was expected."
            )


def _recorded(path: Path, header: dict[str, str]) -> list[tuple[str, str, Direction]]:
    """Return name, unit and direction of every image, in the order of the file."""
    if "DATA_INFO" not in header:
        raise InvalidDataError(f"The header of '{path.name}' has no 'DATA_INFO', the table of its channels.")
    rows = _table(header["DATA_INFO"])
    if not rows:
        raise InvalidDataError(f"'{path.name}' has no channel.")
    found = []
    for row in rows:
        directions = _DIRECTIONS.get(row.get("Direction", "").lower())
        if directions is None or not row.get("Name"):
            raise InvalidDataError(
                f"The table 'DATA_INFO' of '{path.name}' has the row {cut(str(list(row.values())))}; a name, a unit and"
                f" the direction 'both', 'forward' or 'backward' were expected."
            )
        name = _own_name(row["Name"], header)
        found += [(name, row.get("Unit", ""), direction) for direction in directions]
    return found


def _table(text: str) -> list[dict[str, str]]:
    """Return the rows of a table whose columns are divided by tabs, by the names in its first row."""
    names, *rows = [
        [cell.strip() for cell in line.strip("\n").removeprefix("\t").split("\t")]
        for line in text.split("\n")
        if line.strip()
    ] or [[]]
    return [dict(zip(names, row, strict=False)) for row in rows]


def _own_name(name: str, header: dict[str, str]) -> str:
    """Return the name of a signal with its blanks: the table of channels has underscores for them."""
    signals = [text.rsplit(" (", 1)[0].strip() for text in header.get("Scan>channels", "").split(";")]
    return next((signal for signal in signals if signal.replace(" ", "_") == name), name.replace("_", " "))


def _images(
    path: Path,
    offset: int,
    header: dict[str, str],
    recorded: list[tuple[str, str, Direction]],
    shape: tuple[int, int],
    warnings: list[str],
) -> NDArray[np.float32]:
    """Return all images as they are in the file, (image, line, point)."""
    kind = header.get("SCANIT_TYPE", "FLOAT MSBFIRST").split()
    if len(kind) != 2 or kind[0] != "FLOAT" or kind[1] not in _ORDERS:
        raise InvalidDataError(
            f"The numbers of '{path.name}' are '{cut(' '.join(kind))}'; 'FLOAT MSBFIRST' or 'FLOAT LSBFIRST' was"
            " expected."
        )
    there, needed = path.stat().st_size - offset, 4 * len(recorded) * shape[0] * shape[1]
    if there < needed:
        raise InvalidDataError(
            f"'{path.name}' is truncated: {counted(len(recorded), 'image')} of {shape[1]} x {shape[0]} points need"
            f" {needed:,} bytes after the header, and {there:,} are there."
        )
    if there > needed:
        warnings.append(f"{path.name} has {counted(there - needed, 'byte')} more than its channels need, not read.")
    values = read_numbers(path, offset, _ORDERS[kind[1]])
    return values[: needed // 4].reshape(len(recorded), *shape)


def _unmeasured(channels: tuple[Channel, ...], lines: int) -> list[str]:
    """Return sentences on lines that no channel has, and on channels without values."""
    measured = np.array([np.isfinite(channel.values).any(axis=1) for channel in channels])
    missing = lines - int(measured.any(axis=0).sum())
    if missing == lines:
        return ["No line of the scan was measured: every value is NaN."]
    was, is_ = agreeing(missing, "was", "were"), agreeing(missing, "is", "are")
    unfinished = f"The scan is unfinished: {missing} of {lines} lines {was} not measured and {is_} NaN."
    told = [unfinished] if missing else []
    return told + [
        f"The channel '{channel.label}' has no value: it is NaN everywhere."
        for channel, lines_measured in zip(channels, measured, strict=True)
        if not lines_measured.any()
    ]


def _are_equal(one: str, other: str) -> bool:
    """Whether two texts are the same number, as far as three digits tell; one that is no number tells nothing."""
    try:
        return math.isclose(float(one), float(other), rel_tol=2e-3, abs_tol=1e-9)
    except ValueError:
        return True


def _set_point(header: dict[str, str], warnings: list[str]) -> dict[str, str]:
    """Return the bias and the set-point of the feedback with their units."""
    biases = [header[key].strip() for key in ("Bias>Bias (V)", "BIAS") if key in header]
    bias = next(iter(biases), "")
    if len(biases) == 2 and not _are_equal(*biases):
        warnings.append(
            f"The header tells two biases, {biases[0]} V (Bias>Bias) and {biases[1]} V (BIAS): the first is taken."
        )
    value, unit = header.get("Z-Controller>Setpoint", ""), header.get("Z-Controller>Setpoint unit", "")
    set_point = f"{value.strip()} {unit.strip()}".strip()
    if not set_point and (controllers := _table(header.get("Z-CONTROLLER", ""))):
        active = [row for row in controllers if row.get("on") == "1"] or controllers
        set_point = active[0].get("Setpoint", "")
    told = {"set-point bias": f"{bias} V" if bias else "", "set-point": set_point}
    return {key: text for key, text in told.items() if text}
