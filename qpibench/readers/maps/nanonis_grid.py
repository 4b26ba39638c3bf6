"""Grid spectroscopy of Nanonis (``.3ds``).

A text header of lines ``Key=Value`` is followed by big-endian 4-byte floats, one record for each point of the grid: its
parameters, then the sweep of every channel. The first point is the lower left one, and x varies fastest. Where the
experiment was stopped, the file ends after the last record, or the records that remain are zero.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qpibench.counting import agreeing, counted
from qpibench.errors import InvalidDataError
from qpibench.grid import Grid
from qpibench.maps import Axis, Channel, Maps, Source
from qpibench.parsing import cut
from qpibench.readers.nanonis import (
    frame,
    nanometres,
    natural,
    numbers,
    read_numbers,
    split_header,
    split_name,
    with_labels_of_their_own,
)

FORMAT = "Nanonis grid"
SUFFIXES = (".3ds",)

_POINT = "[point]"
"""Tag of the channels that have one value at each point: a grid may have a sweep of the same name."""


def read(path: Path, source: Source) -> Maps:
    """Read a grid; see :class:`qpibench.readers.maps.MapsReader`."""
    text, offset = split_header(path, begins=b"Grid dim=", ends=rb"(?m)^:HEADER_END:\r?\n", what="Nanonis grid")
    header = _entries(text)
    nx, ny = natural(path, header, "Grid dim", 2, "x")
    x, y, width, height, angle = numbers(path, header, "Grid settings", 5, ";")
    grid = frame(path, (nx, ny), (width, height))
    (points,) = natural(path, header, "Points", 1)
    (parameters,) = natural(path, header, "# Parameters (4 byte)", 1)
    names = _names(header, "Channels")
    if not names or not points:
        raise InvalidDataError(
            f"'{path.name}' has {counted(len(names), 'channel')} of {counted(points, 'point')}; a sweep was expected."
        )

    warnings: list[str] = []
    records = _records(path, offset, grid, parameters + points * len(names), warnings)
    _mark_unfinished_sweep(records, parameters, len(names), points)
    axis = _axis(header, records[..., :parameters], points, warnings)
    sweeps = records[..., parameters:].reshape(*grid.shape, len(names), points)
    channels = _sweeps(names, sweeps)
    warnings += [
        f"The channel '{one.label}' has no value: it is NaN everywhere."
        for one in channels
        if np.isnan(one.values).all()
    ]
    channels += _parameters(header, records[..., :parameters])
    return Maps(
        grid=grid,
        channels=with_labels_of_their_own(channels),
        axis=axis,
        source=source,
        centre_nm=(nanometres(x), nanometres(y)),
        angle_deg=float(angle),
        scan_direction="up",
        metadata=header | _set_point(header),
        warnings=tuple(warnings),
    )


def _entries(text: str) -> dict[str, str]:
    """Return the values of the header without their quotation marks; a comment may have several lines."""
    entries: dict[str, str] = {}
    key, is_open = "", False
    for line in text.rstrip("\n").split("\n"):
        if is_open or "=" not in line:
            entries[key] = f"{entries.get(key, '')}\n{line}"
        else:
            key, _, value = line.partition("=")
            while key in entries:  # a line of a comment may look like an entry
                key += " (again)"
            entries[key] = value
        value = entries[key]
        is_open = value.startswith('"') and not (len(value) > 1 and value.endswith('"'))
    return {key: value.strip().removeprefix('"').removesuffix('"') for key, value in entries.items() if key}


def _names(header: dict[str, str], key: str) -> list[str]:
    return [name.strip() for name in header.get(key, "").split(";") if name.strip()]


def _records(path: Path, offset: int, grid: Grid, length: int, warnings: list[str]) -> NDArray[np.float32]:
    """Return the records, (y, x, number), with NaN in those that were not measured."""
    ny, nx = grid.shape
    there, record = path.stat().st_size - offset, 4 * length
    whole = min(there // record, nx * ny)
    if there < nx * ny * record and there % record:
        raise InvalidDataError(
            f"'{path.name}' is truncated: its {nx} x {ny} records of {record:,} bytes need {nx * ny * record:,} bytes,"
            f" and {there:,} follow its header, which ends within a record."
        )
    # The numbers of a header may be wrong: no more memory is taken than 4096 times the size of the file.
    if whole < nx:
        raise InvalidDataError(
            f"'{path.name}' has {whole} of {nx} x {ny} points: not one line of the grid was measured."
        )
    if there > nx * ny * record:
        warnings.append(f"{path.name} has {counted(there - nx * ny * record, 'byte')} more than its grid, not read.")
    records = read_numbers(path, offset)[: whole * length].reshape(whole, length)
    # The record of a measured point has the range of its sweep and its position, which are not all zero.
    empty = np.logical_or(records == 0, np.isnan(records)).all(axis=1)
    if empty.all():
        raise InvalidDataError(f"'{path.name}' has no measured point: all its numbers are zero or NaN.")
    if empty.any():
        records[empty] = np.nan
    if whole < nx * ny:
        full = np.full((nx * ny, length), np.nan, dtype=records.dtype)
        full[:whole] = records
        records = full
    if missing := nx * ny - whole + int(empty.sum()):
        warnings.append(
            f"The grid is unfinished: {missing} of {nx * ny} points {agreeing(missing, 'was', 'were')} not measured and"
            f" {agreeing(missing, 'is', 'are')} NaN."
        )
    return records.reshape(ny, nx, length)


def _mark_unfinished_sweep(records: NDArray[np.float32], parameters: int, channels: int, points: int) -> None:
    """Set the end of the last sweep to NaN if the experiment was stopped within it: zero in all channels."""
    flat = records.reshape(-1, records.shape[-1])
    missing: NDArray[np.bool_] = np.all(np.isnan(flat), axis=1)
    if missing[-1] and len(measured := np.flatnonzero(~missing)):
        sweep = flat[measured[-1], parameters:].reshape(channels, points)
        sweep[:, _at_the_end(np.logical_not(sweep.any(axis=0)))] = np.nan


def _at_the_end(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the flags without those before the last one that is not set."""
    return np.logical_and.accumulate(flags[::-1])[::-1]


def _axis(header: dict[str, str], parameters: NDArray[np.float32], points: int, warnings: list[str]) -> Axis:
    name, unit, _ = split_name(header.get("Sweep Signal", ""))
    segments = _segments(header) if header.get("Filetype", "").strip() == "MLS" else None
    values = _even(header, parameters, points, warnings) if segments is None else _joined(segments, points)
    if not name or values is None:
        why = "no name of the sweep" if not name else "neither a start and end nor segments that give its points"
        warnings.append(f"The header has {why}; the axis counts the points of the sweep.")
        return Axis(name="Point", unit="", values=np.arange(points, dtype=np.float64))
    return Axis(name=name, unit=unit, values=values)


def _even(
    header: dict[str, str], parameters: NDArray[np.float32], points: int, warnings: list[str]
) -> NDArray[np.float64] | None:
    """Return evenly spaced values between start and end, which every record has."""
    names = _names(header, "Fixed parameters")
    if not {"Sweep Start", "Sweep End"} <= set(names[: parameters.shape[-1]]):
        return None
    ends = parameters.reshape(-1, parameters.shape[-1])[:, [names.index("Sweep Start"), names.index("Sweep End")]]
    ends = ends[np.isfinite(ends).all(axis=1)]
    if not len(ends):
        return None
    if (ends != ends[0]).any():
        warnings.append("The points were swept over different ranges; the axis is that of the first point.")
    # The shortest decimal number that is this 4-byte float is the number that was typed: 0.2, not 0.200000003.
    start, end = (float(str(number)) for number in ends[0])
    return np.linspace(start, end, points)


def _segments(header: dict[str, str]) -> list[tuple[float, float, int]] | None:
    """Return start, end and number of points of each segment; None if the header does not tell them."""
    key = next((key for key in header if key.startswith("Segment Start (")), None)
    try:
        rows = [row.split(",") for row in header[key].split(";") if row.strip()] if key else []
        segments = [(float(row[0]), float(row[1]), int(float(row[4]))) for row in rows]
    except (ValueError, IndexError, OverflowError):
        return None
    fine = all(np.isfinite([start, end]).all() and 0 < steps < 10**6 for start, end, steps in segments)
    return segments if segments and fine else None


def _joined(segments: list[tuple[float, float, int]], points: int) -> NDArray[np.float64] | None:
    """Return the values of all segments; None if they are not as many as the sweep has points.

    Nanonis measures a value once at which one segment ends and the next begins.
    """
    parts = [np.linspace(start, end, steps) for start, end, steps in segments]
    merged = [parts[0]]
    for former, part in itertools.pairwise(parts):
        merged.append(part[1:] if part[0] == former[-1] else part)
    return next((all_ for one in (merged, parts) if len(all_ := np.concatenate(one)) == points), None)


def _sweeps(names: list[str], sweeps: NDArray[np.float32]) -> list[Channel]:
    """Return a channel for each sweep; sweeps (y, x, channel, point).

    Nanonis stores the values of a backward sweep in the order of the forward one.
    """
    split = [split_name(name) for name in names]
    any_backward = any(direction == "backward" for *_, direction in split)
    channels = []
    for index, (name, unit, direction) in enumerate(split):
        values = np.ascontiguousarray(np.moveaxis(sweeps[:, :, index], -1, 0))
        told = (direction or "forward") if any_backward else None
        channels.append(Channel(name=name, unit=unit, values=values, direction=told))
    return channels


def _parameters(header: dict[str, str], values: NDArray[np.float32]) -> list[Channel]:
    """Return a channel (y, x) for each parameter of the points."""
    names = _names(header, "Fixed parameters") + _names(header, "Experiment parameters")
    names += [f"Parameter {number + 1}" for number in range(len(names), values.shape[-1])]
    channels = []
    for index in range(values.shape[-1]):
        name, unit, direction = split_name(names[index])
        map_ = np.ascontiguousarray(values[:, :, index])
        channels.append(Channel(name=f"{name} {_POINT}", unit=unit, values=map_, direction=direction))
    return channels


def _set_point(header: dict[str, str]) -> dict[str, str]:
    """Return the bias before the sweeps and the set-point of the feedback, with their units."""
    bias = header.get("Bias>Bias (V)", "").strip()
    set_point = f"{header.get('Z-Controller>Setpoint', '')} {header.get('Z-Controller>Setpoint unit', '')}".strip()
    told = {"set-point bias": f"{bias} V" if bias else "", "set-point": set_point}
    return {key: cut(text) for key, text in told.items() if text}
