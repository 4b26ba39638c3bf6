"""Reads one scatterer CSV file; see :mod:`qpibench.release.csv_layout`."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.grid import Grid
from qpibench.release.csv_layout import UNUSED_ANGSTROM, UNUSED_NM, nanometres
from qpibench.specs import MAX_SCATTERERS

PITCH_TOLERANCE = 0.01
"""How far a pixel coordinate may lie off the even lattice, in pixels: the files round them."""


@dataclass(frozen=True, kw_only=True)
class CsvFile:
    """One file: a kernel and its images, with the pixels in the file's own order.

    Attributes
    ----------
    path
        The file.
    sha256
        Hash of its bytes, hexadecimal.
    grid
        Pixel grid, square.
    max_scatterers
        Number of scatterers that a row has room for.
    kernel
        (n, n) float32.
    image
        (image, n, n) float32.
    position_nm
        One (scatterer, 2) float64 array of x and y for every image, without the unused ones.
    """

    path: Path
    sha256: str
    grid: Grid
    max_scatterers: int
    kernel: NDArray[np.float32]
    image: NDArray[np.float32]
    position_nm: tuple[NDArray[np.float64], ...]


def read_csv(path: str | Path) -> CsvFile:
    """Read one scatterer CSV file.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If it is not of the layout; row and column are named.
    QpibenchError
        If it cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except FileNotFoundError:
        raise UsageError(f"There is no file '{path}'.") from None
    except IsADirectoryError:
        raise UsageError(f"'{path}' is a folder; name the CSV files in it.") from None
    except OSError as error:
        raise QpibenchError(f"'{path}' cannot be read: {error.strerror}.") from None


def _read(path: Path, file: BinaryIO) -> CsvFile:
    digest = hashlib.sha256()
    rows = _rows(file, digest.update)

    def next_row(content: str) -> tuple[int, list[bytes]]:
        try:
            return next(rows)
        except StopIteration:
            found = "is empty" if not file.tell() else f"ends before {content}"
            raise InvalidDataError(
                f"'{path}' {found}; expected a row with resolution and number of scatterers, a row of coordinates,"
                " a kernel row, and image rows."
            ) from None

    n, max_scatterers = _sizes(path, *next_row("its first row"))
    grid = _grid(path, *next_row("the row of coordinates"), n)
    kernel = _row_values(path, *next_row("the kernel row"), n, max_scatterers)
    images, positions = [], []
    for row, fields in itertools.chain([next_row("the first image row")], rows):
        images.append(_row_values(path, row, fields, n, max_scatterers))
        positions.append(_row_positions(path, row, fields, n, grid))
    return CsvFile(
        path=path,
        sha256=digest.hexdigest(),
        grid=grid,
        max_scatterers=max_scatterers,
        kernel=kernel,
        image=np.stack(images),
        position_nm=tuple(positions),
    )


def _rows(file: BinaryIO, update_digest: Callable[[bytes], None]) -> Iterator[tuple[int, list[bytes]]]:
    """Row numbers, from 1, and fields of all rows that are not blank."""
    for row, line in enumerate(file, 1):
        update_digest(line)
        text = (line.removeprefix(b"\xef\xbb\xbf") if row == 1 else line).strip()
        if text:
            yield row, text.split(b",")


def _sizes(path: Path, row: int, fields: list[bytes]) -> tuple[int, int]:
    if len(fields) < 2:
        raise InvalidDataError(
            f"'{path}', row {row}: expected two numbers, the resolution and the largest number of scatterers."
        )
    # Further columns may be there to make the table rectangular.
    resolution, scatterers = _numbers(path, row, fields[:2])
    limits = ("resolution", resolution, 2, 4096), ("number of scatterers", scatterers, 1, MAX_SCATTERERS)
    for column, (what, value, least, most) in enumerate(limits, 1):
        if value != int(value) or not least <= value <= most:
            raise InvalidDataError(
                f"'{path}', row {row}, column {column}: the {what} must be an integer from {least} to {most},"
                f" found {value:g}."
            )
    return int(resolution), int(scatterers)


def _grid(path: Path, row: int, fields: list[bytes], n: int) -> Grid:
    if len(fields) < n:
        raise InvalidDataError(f"'{path}', row {row}: expected {n} pixel coordinates, found {len(fields)} columns.")
    found = _numbers(path, row, fields[:n]) / 10
    size_nm = nanometres(fields[n - 1].decode()) - nanometres(fields[0].decode())
    expected = (np.arange(n) / (n - 1) - 0.5) * size_nm
    off = np.abs(found - expected) > PITCH_TOLERANCE * abs(size_nm) / (n - 1)
    if size_nm <= 0 or off.any():
        column = int(np.argmax(off))
        raise InvalidDataError(
            f"'{path}', row {row}, column {column + 1}: pixel coordinates must increase evenly from -L/2 to L/2, found"
            f" {10 * found[column]:g} where {10 * expected[column]:g} was expected (Angstrom)."
        )
    if size_nm / 2 >= UNUSED_NM:
        raise InvalidDataError(
            f"'{path}', row {row}: the field reaches {5 * size_nm:g} Angstrom, but a coordinate of"
            f" {UNUSED_ANGSTROM:g} stands for no scatterer."
        )
    return Grid(ny=n, nx=n, size_y_nm=size_nm, size_x_nm=size_nm)


def _row_values(path: Path, row: int, fields: list[bytes], n: int, max_scatterers: int) -> NDArray[np.float32]:
    """Pixels (n, n) of a kernel or image row."""
    columns = n * n + 2 * max_scatterers
    if len(fields) != columns:
        raise InvalidDataError(
            f"'{path}', row {row}: expected {columns} columns ({n} x {n} pixels and {max_scatterers} pairs of"
            f" coordinates), found {len(fields)}."
        )
    return _numbers(path, row, fields[: n * n]).astype(np.float32).reshape(n, n)


def _row_positions(path: Path, row: int, fields: list[bytes], n: int, grid: Grid) -> NDArray[np.float64]:
    """Used scatterer positions (scatterer, 2) of an image row in nm."""
    first = n * n
    angstrom = _numbers(path, row, fields[first:], first_column=first + 1).reshape(-1, 2)
    used = np.flatnonzero((angstrom != UNUSED_ANGSTROM).any(axis=1))
    position_nm = np.array(
        [[nanometres(fields[first + 2 * s + axis].decode()) for axis in (0, 1)] for s in used], dtype=np.float64
    ).reshape(-1, 2)
    half = grid.size_x_nm / 2
    outside = np.abs(position_nm) > half * (1 + 1e-9)
    if outside.any():
        scatterer, axis = np.argwhere(outside)[0]
        column = first + 2 * used[scatterer] + axis + 1
        raise InvalidDataError(
            f"'{path}', row {row}, column {column}: {'xy'[axis]} = {10 * position_nm[scatterer, axis]:g} Angstrom lies"
            f" outside the field of -{10 * half:g} to {10 * half:g} Angstrom."
        )
    return position_nm


def _numbers(path: Path, row: int, fields: list[bytes], *, first_column: int = 1) -> NDArray[np.float64]:
    try:
        values = np.array(fields, dtype=np.float64)
    except ValueError:
        values = np.array([_number(field) for field in fields])
    # What overflows in float32 is no use either.
    wrong = ~(np.abs(values) <= np.finfo(np.float32).max)
    if wrong.any():
        column = int(np.argmax(wrong))
        found = fields[column].strip().decode(errors="replace")
        raise InvalidDataError(
            f"'{path}', row {row}, column {first_column + column}: expected a finite number, found"
            f" {repr(found[:40]) if found else 'nothing'}."
        )
    return values


def _number(field: bytes) -> float:
    try:
        return float(field)
    except ValueError:
        return np.nan
