"""Scatterers of a measured image in a CSV file: x and y in nm, one scatterer a line."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.files import unreadable, write_whole

if TYPE_CHECKING:
    from qpibench.extraction.measured import Origin

_NM_PER = {"nm": 1.0, "m": 1e9, "um": 1e3, "pm": 1e-3, "angstrom": 0.1, "å": 0.1, "a": 0.1}
_PIXELS = {("column", "row"), ("x_px", "y_px"), ("x_pixel", "y_pixel")}
_MOST_BYTES = 1 << 26
_WITH_UNIT = re.compile(r"([xy])\s*[\[(/]\s*(\w+)\s*[\])]?", re.IGNORECASE)
"""A name such as ``x (nm)`` or ``y [Å]``."""
_COORDINATE = re.compile(r"([xy])_\w+", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_MICRO = {0xB5: "u", 0x3BC: "u"}
_WHOLE = re.compile(r"[+-]?\d+")
_COMMAS = "if its commas are decimal commas, write decimal points, or separate the fields by semicolons"


def origin_of(path: Path, origin: str | None, *, in_pixels: bool) -> Origin:
    """Return where the positions of a file are measured from, as ``--origin`` and the names of its columns say.

    Raises
    ------
    UsageError
        If both say something else.
    """
    if in_pixels and origin not in (None, "pixel"):
        raise UsageError(f"'{path}' has columns of pixels, which count from the first pixel; leave out --origin.")
    return "pixel" if in_pixels else cast("Origin", origin or "centre")


def read_positions(path: str | Path) -> tuple[NDArray[np.float64], bool]:
    """Read the positions of scatterers.

    The file is text with fields separated by commas, semicolons, tabs or blanks. Numbers may have a decimal comma if
    the separator is another one. Lines that begin with ``#`` and empty lines are left out, but the last ``#`` before
    the numbers may be followed by the names of the columns, whatever separates them. A first line with these names may
    tell their unit: ``x_nm,y_nm`` or ``x (nm),y (nm)``, another unit of length in place of nm, or ``column,row`` for
    pixels. A column ``layer`` must have one value throughout. Other columns are left out. Without names the first two
    columns are x and y in nm.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ndarray
        (scatterer, 2) float64: x and y in nm, or column and row.
    bool
        Whether they are pixels.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If the file is no such table; the message names the line.
    QpibenchError
        If it cannot be read.
    """
    path = Path(path)
    (number, names), rows = _rows(path)
    if not rows:
        raise InvalidDataError(f"'{path}' has no scatterer; a line has x and y in nm.")
    first = rows[0][1]
    places, factor, pixels = (0, 1), 1.0, False
    if not all(_is_number(field) for field in first):
        (number, names), *rows = rows
    known = _columns(names)
    if known is None and names:
        raise InvalidDataError(
            f"'{path}', line {number}, names the columns {', '.join(names)}; expected x_nm and y_nm, or column and row."
        )
    if known is not None:
        places, factor, pixels = known
        for place, fields in rows:
            if len(fields) > len(names):
                raise InvalidDataError(
                    f"'{path}', line {place}, has {len(fields)} fields, and there are names of {len(names)}; {_COMMAS}."
                )
        if (count := _layers(names, rows)) > 1:
            raise InvalidDataError(f"'{path}' has the scatterers of {count} layers; keep the lines of one layer.")
    elif len(first) == 4 and all(_WHOLE.fullmatch(field) for field in first):
        raise InvalidDataError(
            f"'{path}', line {rows[0][0]}, has 4 fields of whole numbers; {_COMMAS}, or name the columns."
        )
    if not rows:
        raise InvalidDataError(f"'{path}' has the names of columns, but no scatterer.")
    positions = np.array([_numbers(path, number, fields, places) for number, fields in rows])
    return factor * positions, pixels


def write_positions(
    path: str | Path, position_nm: ArrayLike, *, columns: Mapping[str, ArrayLike] | None = None
) -> None:
    """Write positions to a file that :func:`read_positions` reads without loss.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    position_nm
        (scatterer, 2): x and y in nm.
    columns
        Other numbers of each scatterer, (scatterer,), by the names of their columns; they follow x and y.

    Raises
    ------
    UsageError, QpibenchError
        As :func:`qpibench.files.write_whole`.
    """
    others = {} if columns is None else columns
    fields = [*np.asarray(position_nm, dtype=np.float64).reshape(-1, 2).T, *map(np.asarray, others.values())]
    rows = zip(*(field.tolist() for field in fields), strict=True)
    lines = [",".join(map(repr, row)) for row in rows]
    write_whole(path, "\n".join([",".join(["x_nm", "y_nm", *others]), *lines, ""]).encode(), what="File of positions")


_Line = tuple[int, list[str]]
"""Number of a line and its fields."""


def _rows(path: Path) -> tuple[_Line, list[_Line]]:
    """Names of columns in the last comment before the first line with something in it, and all such lines."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(content) > _MOST_BYTES:
        raise InvalidDataError(f"'{path}' is larger than {_MOST_BYTES >> 20} MiB, so it is no file of positions.")
    if b"\0" in content:
        raise InvalidDataError(f"'{path}' is no text in UTF-8; save the positions as CSV.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    kept = [(number, line) for number, line in lines if line and not line.startswith("#")]
    separator = next((each for each in ("\t", ";", ",") if kept and each in kept[0][1]), None)
    if separator == "," and all(map(_DECIMAL_COMMA.fullmatch, kept[0][1].split())) and len(kept[0][1].split()) > 1:
        separator = None
    before = [(number, line) for number, line in lines if line.startswith("#") and kept and number < kept[0][0]]
    place, comment = before[-1] if before else (0, "")
    return (place, _names(comment.lstrip("# "))), [(number, _fields(line, separator)) for number, line in kept]


def _names(comment: str) -> list[str]:
    """Names of columns in a comment, with x and y among them; empty if it has none."""
    text = _WITH_UNIT.sub(r"\1_\2", comment)
    ways = [[name.strip(' "') for name in text.split(separator)] for separator in ("\t", ";", ",", None)]
    known = (names for names in ways if _columns(names) is not None)
    unknown = (
        names
        for names in ways
        if {found[1].lower() for found in map(_COORDINATE.fullmatch, names) if found} == {"x", "y"}
    )
    return next(known, None) or next(unknown, [])


def _fields(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return line.split()
    return [field.strip() for field in next(csv.reader(io.StringIO(line), delimiter=separator))]


def _columns(names: Sequence[str]) -> tuple[tuple[int, int], float, bool] | None:
    """Places of x and y among the columns, the factor to nm, and whether they are pixels; None without such names."""
    found = [_WITH_UNIT.sub(r"\1_\2", name.strip().lower().translate(_MICRO)) for name in names]
    for x, y in _PIXELS:
        if x in found and y in found:
            return (found.index(x), found.index(y)), 1.0, True
    for unit, factor in _NM_PER.items():
        x, y = f"x_{unit}", f"y_{unit}"
        if x in found and y in found:
            return (found.index(x), found.index(y)), factor, False
    return None


def _layers(names: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]) -> int:
    """Number of values in the column of layers; 0 if there is none."""
    place = next((place for place, name in enumerate(names) if name.lower() == "layer"), len(names))
    return len({fields[place] for _, fields in rows if place < len(fields)})


def _numbers(path: Path, number: int, fields: Sequence[str], places: tuple[int, int]) -> tuple[float, float]:
    try:
        x, y = (_number(fields[place]) for place in places)
    except (IndexError, ValueError):
        raise InvalidDataError(f"'{path}', line {number}, has no numbers x and y: {', '.join(fields)}.") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise InvalidDataError(f"'{path}', line {number}, has a position that is not finite: {', '.join(fields)}.")
    return x, y


def _number(field: str) -> float:
    return float(field.replace(",", ".") if _DECIMAL_COMMA.fullmatch(field) else field)


def _is_number(field: str) -> bool:
    try:
        _number(field)
    except ValueError:
        return False
    return True
