"""Both file formats of Nanonis: finding the header, its numbers and names, and the order of bytes.

The package nanonispy2 1.2.0 is not used, because it is wrong or fails on genuine files: it takes every channel of a
scan for recorded in both directions, spaces the biases of a multi-segment grid evenly, fills a stopped grid with zeros,
takes the fifth parameter of a point for its height, loses one of two channels of equal names, allocates the memory that
a damaged header asks for, and fails on comments of several lines and suffixes in capitals. The tests compare the
readers with it on the files that it reads right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from qpibench.errors import InvalidDataError
from qpibench.grid import Grid
from qpibench.maps.measurement import Channel, Direction
from qpibench.parsing import cut

_HEADER_BYTES = 1 << 22
"""Largest header that is looked for: hundred times that of a scan with every module of Nanonis."""

_BIG, _NATIVE = np.dtype(">f4"), np.dtype("=f4")


def split_header(path: Path, *, begins: bytes, ends: bytes, what: str) -> tuple[str, int]:
    """Find the header of a file.

    Parameters
    ----------
    path
        The file.
    begins
        Text that the file begins with, after blanks.
    ends
        Regular expression of the end of the header, line breaks and markers before the numbers included.
    what
        The format, such as ``"Nanonis scan"``.

    Returns
    -------
    The header, without its end, and the number of bytes before the numbers.

    Raises
    ------
    InvalidDataError
        If the file is empty, begins with something else, or has no end of a header.
    """
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    if not head:
        raise InvalidDataError(f"'{path.name}' is empty; a {what} was expected.")
    if not head.lstrip().startswith(begins):
        raise InvalidDataError(
            f"'{path.name}' is no {what}: it begins with {cut(repr(head[:20]))[1:]}, not '{begins.decode()}'."
        )
    if (end := re.search(ends, head)) is None:
        raise InvalidDataError(f"'{path.name}' is truncated: the header of the {what} has no end.")
    return _decoded(head[: end.start()]), end.end()


def _decoded(header: bytes) -> str:
    # Nanonis writes texts in the code page of its Windows, where the degree sign is no valid UTF-8.
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError:
        text = header.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n")


def numbers(path: Path, header: Mapping[str, str], key: str, count: int, separator: str | None = None) -> list[Decimal]:
    """Return finite numbers of a header, split at blanks or a separator.

    Decimal numbers: a length in metres becomes the nearest number in nm, with one rounding.

    Raises
    ------
    InvalidDataError
        If the key is missing, or does not have ``count`` numbers or more.
    """
    if key not in header:
        raise InvalidDataError(f"The header of '{path.name}' has no '{key}'.")
    try:
        found = [Decimal(text.strip()) for text in header[key].strip().split(separator)[:count]]
    except InvalidOperation:
        found = []
    if len(found) < count or not all(number.is_finite() and abs(number.adjusted()) < 300 for number in found):
        raise InvalidDataError(
            f"The header of '{path.name}' has '{cut(header[key].strip())}' as '{key}'; {count} finite"
            f" number{'s were' if count > 1 else ' was'} expected."
        )
    return found


def natural(path: Path, header: Mapping[str, str], key: str, count: int, separator: str | None = None) -> list[int]:
    """Return numbers of a header that count something; errors as :func:`numbers`, also for a fraction."""
    found = numbers(path, header, key, count, separator)
    if not all(0 <= number < 10**9 and number == int(number) for number in found):
        raise InvalidDataError(
            f"The header of '{path.name}' has '{cut(header[key].strip())}' as '{key}'; whole numbers were expected."
        )
    return [int(number) for number in found]


def nanometres(metres: Decimal) -> float:
    """Return a length in nm."""
    return float(metres.scaleb(9))


def frame(path: Path, pixels: tuple[int, int], range_m: tuple[Decimal, Decimal]) -> Grid:
    """Return the grid of ``pixels`` along x and y in a frame of a size in metres.

    Nanonis divides the frame into n pixels of the pitch range / n and measures at their centres, so that the outermost
    points are range (n-1) / n apart.

    Raises
    ------
    InvalidDataError
        If a side has fewer than 2 or more than 4096 pixels, or a size that is not physical.
    """
    (nx, ny), (width, height) = pixels, range_m
    try:
        return Grid(
            nx=nx,
            ny=ny,
            size_x_nm=nanometres(width * (nx - 1) / max(nx, 1)),
            size_y_nm=nanometres(height * (ny - 1) / max(ny, 1)),
        )
    except ValidationError as error:
        if not all(2 <= n <= 4096 for n in pixels):
            raise InvalidDataError(
                f"'{path.name}' has {nx} x {ny} points; maps need 2 to 4096 points along x and along y."
            ) from error
        raise InvalidDataError(
            f"The frame of '{path.name}' is {width} m x {height} m; the sides must be between 1 pm and 1 mm."
        ) from error


def read_numbers(path: Path, offset: int, kind: np.dtype[np.float32] = _BIG) -> NDArray[np.float32]:
    """Return the numbers of a file from an offset on, in the machine's order of bytes.

    Raises
    ------
    InvalidDataError
        If they are numbers of a measurement only in the other order of bytes.
    """
    values = np.fromfile(path, dtype=kind, offset=offset)
    if _share_of_measured(values) < 0.6 and _share_of_measured(values.view(kind.newbyteorder())) > 0.95:
        raise InvalidDataError(
            f"The numbers of '{path.name}' have the wrong order of bytes:"
            f" '{'big' if kind == _BIG else 'little'}-endian' was expected; another program may have written the file."
        )
    return values.astype(_NATIVE, copy=False)


def _share_of_measured(values: NDArray[np.float32]) -> float:
    """Return which share of the first and last numbers, without zeros and NaN, lies between 1e-20 and 1e9.

    Equal numbers count once: those of a channel that did not change, such as the height of the tip, tell little.
    """
    with np.errstate(invalid="ignore"):
        size = np.abs(np.concatenate([values[:5000], values[-5000:]]).astype(np.float64))
    size = np.unique(size[(size != 0) & ~np.isnan(size)])
    return float(((size > 1e-20) & (size < 1e9)).mean()) if len(size) else 1.0


def split_name(text: str) -> tuple[str, str, Direction | None]:
    """Split such a name as ``Current [bwd] (A)`` into the name, the unit and the direction that a tag tells."""
    match = re.fullmatch(r"(?P<name>.*?)\s*\((?P<unit>[^()]*)\)(?P<tags>(\s*\[[^\]]*\])*)\s*", text.strip())
    name, unit = (match["name"] + match["tags"], match["unit"]) if match else (text, "")
    backward = "[bwd]" in name
    return " ".join(name.replace("[bwd]", " ").split()), unit.strip(), "backward" if backward else None


def with_labels_of_their_own(channels: list[Channel]) -> tuple[Channel, ...]:
    """Number the channels whose labels others have had before: the second ``Current`` is ``Current #2``."""
    taken: set[str] = set()
    kept = []
    for channel in channels:
        number, numbered = 1, channel
        while numbered.label in taken:
            number += 1
            numbered = Channel(
                name=f"{channel.name} #{number}",
                unit=channel.unit,
                values=channel.values,
                direction=channel.direction,
            )
        taken.add(numbered.label)
        kept.append(numbered)
    return tuple(kept)
