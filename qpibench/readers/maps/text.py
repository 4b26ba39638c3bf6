"""Reads matrices of numbers in text files: lines are rows, separated by tabs, blanks, commas or semicolons.

Lines that begin with ``#`` or ``%`` are comments. Those of Gwyddion's export tell the channel, width, height and unit;
the first row is then the top, and sizes cover all pixels. A width or height in pixels tells nothing. The decimal sign
is a point, or a comma where it separates nothing.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError
from qpibench.maps import Source
from qpibench.maps.arrays import Array, Arrays, is_map
from qpibench.maps.units import in_nm
from qpibench.parsing import cut

FORMAT = "text matrix"
SUFFIXES = (".asc", ".dat", ".txt")

_FACT = re.compile(r"[#%]+([^:=]+)[:=](.*)")
_COUNT = re.compile(r"\d+\s*(px|pixels?|points?|pts)?", re.IGNORECASE)
_LENGTH = re.compile(r"([-+0-9.,eE]+)\s*(\S+)")


def read(path: Path, source: Source) -> Arrays:
    """Read a file; see :class:`qpibench.readers.maps.MapsReader`."""
    content = path.read_bytes()
    text = _decoded(path, content)
    if "[DATA]" in text[:100_000] or text.startswith("Experiment\t"):
        raise InvalidDataError(f"'{path}' is a Nanonis spectrum of one point, not a map; name a grid (.3ds) or a scan.")
    lines = [line for each in text.splitlines() if (line := each.strip())]
    comments = [line for line in lines if line[0] in "#%"]
    facts = {match[1].strip().lower(): match[2].strip() for line in comments if (match := _FACT.fullmatch(line))}
    values = _numbers(path, [line for line in lines if line[0] not in "#%"])
    ny, nx = values.shape
    sizes = [_length(path, facts, name) for name in ("width", "height")]
    size = None
    if sizes[0] is not None and sizes[1] is not None:
        size = sizes[0] * (nx - 1) / nx, sizes[1] * (ny - 1) / ny
    array = Array(
        name=facts.get("channel") or path.stem,
        unit=facts.get("value units", ""),
        values=values,
        size_nm=size,
        first_row=None if size is None else "top",
    )
    return Arrays(arrays=(array,), source=source, metadata=facts)


def _decoded(path: Path, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    if b"\0" in content:
        raise InvalidDataError(f"'{path}' is no text file: it has bytes that are 0.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _numbers(path: Path, lines: list[str]) -> NDArray[np.float64]:
    if not lines:
        raise InvalidDataError(f"'{path}' has no numbers.")
    separator, decimal_comma = _separators(next((line for line in lines if "," in line), lines[0]))
    if separator is not None:
        lines = [line.rstrip(separator + " \t") for line in lines]
    body = "\n".join(lines)
    if decimal_comma:
        body = body.replace(",", ".")
    try:
        values = np.loadtxt(io.StringIO(body), delimiter=separator, ndmin=2, comments=None)
    except ValueError as error:
        reason = cut(str(error).partition(";")[0].rstrip("."))
        raise InvalidDataError(f"'{path}' is no matrix of numbers: {reason}.") from None
    if not is_map(values):
        raise InvalidDataError(
            f"'{path}' must have two or more rows and columns of numbers, found {values.shape[0]} x {values.shape[1]}."
        )
    return values


def _separators(line: str) -> tuple[str | None, bool]:
    """The separator of a line, None for blanks and tabs, and whether a comma is its decimal sign."""
    if ";" in line:
        return ";", "," in line
    if "," in line and (re.search(r",\s|\s,", line) or not re.search(r"\s", line)):
        return ",", False
    return None, "," in line


def _length(path: Path, facts: dict[str, str], name: str) -> float | None:
    """A width or height in nm, None if the header has none or only a number of pixels."""
    if name not in facts or _COUNT.fullmatch(facts[name]):
        return None
    match = _LENGTH.fullmatch(facts[name])
    scale = None if match is None else in_nm(match[2])
    try:
        number = float(match[1].replace(",", ".")) if match else None
    except ValueError:
        number = None
    if number is None or scale is None:
        raise InvalidDataError(f"'{path}': its {name} is no length with a unit, found '{cut(facts[name])}'.")
    return number * scale
