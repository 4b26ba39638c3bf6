"""The CSV layout of the published scatterer data set: one file for each kernel.

======  =======================================================================================
row     columns
======  =======================================================================================
1       resolution n, largest number of scatterers m
2       n pixel coordinates in Angstrom, the same along x and y
3       n*n values of the kernel, then 2*m scatterer coordinates: the kernel's own at (0, 0)
4...    n*n values of an image, then 2*m scatterer coordinates x1, y1, x2, y2, ... in Angstrom
======  =======================================================================================

The fields are separated by commas, or by semicolons, tabs or spaces if the first row is; numbers have decimal points.
The file is text in UTF-8, and may be compressed by gzip.

A coordinate of 1000 stands for "no scatterer". Two data sets are published in this layout: 64 pixels on 400 Angstrom
with up to 20 scatterers, and 64 pixels on 100 Angstrom with up to 100. They do not state which of x and y runs slowest
in the n*n values.

Lengths are converted from Angstrom to nanometres in their decimal text, where the factor of ten is exact. Dividing the
float64 by ten would round a second time.
"""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.files import unreadable
from qpibench.grid import Grid
from qpibench.physics.residual import forward_residual
from qpibench.readers.images import Images, Progress, hash_numbers
from qpibench.readers.images.csv.rows import Row, decompressed, read_rows
from qpibench.specs import MAX_SCATTERERS

AxisOrder = Literal["x_first", "y_first"]
"""The coordinate that runs slowest in the pixels: in the order ``"x_first"``, consecutive values differ in y."""

UNUSED_ANGSTROM = 1000.0
UNUSED_NM = UNUSED_ANGSTROM / 10

PITCH_TOLERANCE = 0.01
"""Largest deviation of a pixel coordinate from the even lattice, in pixels; files contain rounded coordinates."""

_COMPARED_FILES = 4
_COMPARED_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class CsvFile:
    """One file: a kernel and its images, with the pixels in the file's own order.

    Attributes
    ----------
    path
        The file.
    sha256
        Hash of its numbers, hexadecimal; see :func:`qpibench.readers.images.hash_numbers`.
    grid
        Pixel grid, square.
    max_scatterers
        Largest number of scatterers of a row.
    kernel
        (n, n) float32.
    image
        (image, n, n) float32.
    position_nm
        For every image one (scatterer, 2) float64 array of x and y in nm, without unused places.
    rows
        Row of the file, from 1, of every image.
    """

    path: Path
    sha256: str
    grid: Grid
    max_scatterers: int
    kernel: NDArray[np.float32]
    image: NDArray[np.float32]
    position_nm: tuple[NDArray[np.float64], ...]
    rows: tuple[int, ...]


def read(files: Sequence[str | Path], *, progress: Progress | None = None) -> Images:
    """Read scatterer CSV files, one for each kernel; see :class:`qpibench.readers.images.Reader`.

    The files do not say which of x and y runs slowest in the pixels. The reader tries both orders on a few images and
    takes the one whose forward residuals are smaller.
    """
    parts: list[CsvFile] = []
    for path in files:
        parts.append(read_file(path))
        _check_fits(parts)
        if progress is not None:
            progress(len(parts), len(files))
    residual = _compare_orders(parts)
    axis_order: AxisOrder = min(residual, key=residual.__getitem__)
    counts = [len(part.image) for part in parts]
    positions = [position for part in parts for position in part.position_nm]
    image = np.empty((sum(counts), *parts[0].grid.shape), dtype=np.float32)
    np.concatenate([_images(part.image, axis_order) for part in parts], out=image)
    return Images(
        grid=parts[0].grid,
        image=image,
        files_sha256=tuple(part.sha256 for part in parts),
        kernel=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        kernel_image=np.ascontiguousarray(_images(np.stack([part.kernel for part in parts]), axis_order)),
        position_nm=_padded(positions, max(part.max_scatterers for part in parts)),
        axis_order=axis_order,
        remark=f"pixels are read in the order {axis_order}",
        details={"axis_order": axis_order},
        places=tuple(f"'{part.path}', row {row}" for part in parts for row in part.rows),
    )


def _padded(positions: Sequence[NDArray[np.float64]], capacity: int) -> NDArray[np.float64]:
    """Positions of several images, (image, capacity, 2), padded with NaN."""
    padded = np.full((len(positions), capacity, 2), np.nan)
    for row, position_nm in zip(padded, positions, strict=True):
        row[: len(position_nm)] = position_nm
    return padded


def _check_fits(parts: list[CsvFile]) -> None:
    first, last = parts[0], parts[-1]
    if last.grid != first.grid:
        raise InvalidDataError(
            f"'{last.path}' has {last.grid.nx} pixels on {last.grid.size_x_nm:g} nm, but '{first.path}' has"
            f" {first.grid.nx} on {first.grid.size_x_nm:g} nm; import them into different releases."
        )
    for other in parts[:-1]:
        if other.sha256 == last.sha256:
            raise UsageError(f"'{last.path}' and '{other.path}' contain the same numbers; give every kernel once.")


def _images(stored: NDArray[np.float32], axis_order: AxisOrder) -> NDArray[np.float32]:
    """Images (..., y, x) from images in the file's order."""
    return stored.swapaxes(-2, -1) if axis_order == "x_first" else stored


def read_file(path: str | Path) -> CsvFile:
    """Read one scatterer CSV file.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If the file does not have the layout; the message names row and column.
    QpibenchError
        If it cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read(path, decompressed(path, file))
    except IsADirectoryError:
        raise UsageError(f"'{path}' is a folder; name the CSV files in it.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidDataError(f"'{path}' is a damaged gzip file: {str(error).rstrip('.')}.") from None
    except OSError as error:
        raise unreadable(path, error) from None


def _read(path: Path, file: BinaryIO) -> CsvFile:
    rows = read_rows(path, file)

    def next_row(content: str) -> Row:
        for row in rows:
            return row
        found = f"ends before {content}" if file.tell() else "is empty"
        raise InvalidDataError(
            f"'{path}' {found}; expected a row with resolution and number of scatterers, a row of coordinates,"
            " a kernel row, and image rows."
        )

    n, max_scatterers = _sizes(next_row("its first row"))
    grid = _grid(next_row("the row of coordinates"), n)
    kernel = _pixels(next_row("the kernel row"), n, max_scatterers)
    images, positions, numbers = [], [], []
    for row in itertools.chain([next_row("the first image row")], rows):
        images.append(_pixels(row, n, max_scatterers))
        positions.append(_positions(row, n, grid))
        numbers.append(row.number)
    image = np.stack(images)
    counts = np.array([len(position_nm) for position_nm in positions], dtype=np.int64)
    return CsvFile(
        path=path,
        sha256=hash_numbers(grid, [kernel, image, counts, np.concatenate(positions)]),
        grid=grid,
        max_scatterers=max_scatterers,
        kernel=kernel,
        image=image,
        position_nm=tuple(positions),
        rows=tuple(numbers),
    )


def _sizes(row: Row) -> tuple[int, int]:
    row.check_decimal_commas(2)
    if len(row.fields) < 2:
        found = row.fields[0][:40].decode(errors="replace")
        raise InvalidDataError(
            f"{row.place}: expected two numbers, the resolution and the largest number of scatterers, separated by a"
            f" comma, semicolon, tab or space; found {found!r}."
        )
    # Further columns may be there to make the table rectangular.
    resolution, scatterers = row.numbers(0, 2)
    limits = ("resolution", resolution, 2, 4096), ("number of scatterers", scatterers, 1, MAX_SCATTERERS)
    for column, (what, value, least, most) in enumerate(limits, 1):
        if value != int(value) or not least <= value <= most:
            raise InvalidDataError(
                f"{row.place}, column {column}: the {what} must be an integer from {least} to {most}, found {value:g}."
            )
    return int(resolution), int(scatterers)


def _grid(row: Row, n: int) -> Grid:
    row.check_decimal_commas(n)
    if len(row.fields) < n:
        raise InvalidDataError(
            f"{row.place}: expected {n} pixel coordinates {row.separated}, found {len(row.fields)} columns."
        )
    found = row.numbers(0, n) / 10
    size_nm = row.length_nm(n - 1) - row.length_nm(0)
    expected = (np.arange(n) / (n - 1) - 0.5) * size_nm
    off = np.abs(found - expected) > PITCH_TOLERANCE * abs(size_nm) / (n - 1)
    if size_nm <= 0 or off.any():
        column = int(np.argmax(off))
        raise InvalidDataError(
            f"{row.place}, column {column + 1}: pixel coordinates must increase evenly from -L/2 to L/2, found"
            f" {10 * found[column]:g} where {10 * expected[column]:g} was expected (Angstrom)."
        )
    if size_nm / 2 >= UNUSED_NM:
        raise InvalidDataError(
            f"{row.place}: the field reaches {5 * size_nm:g} Angstrom; it must end below {UNUSED_ANGSTROM:g}, which"
            " marks an unused scatterer column."
        )
    return Grid(ny=n, nx=n, size_y_nm=size_nm, size_x_nm=size_nm)


def _pixels(row: Row, n: int, max_scatterers: int) -> NDArray[np.float32]:
    """Pixels (n, n) of a kernel or image row."""
    columns = n * n + 2 * max_scatterers
    row.check_decimal_commas(columns)
    if len(row.fields) != columns:
        raise InvalidDataError(
            f"{row.place}: expected {columns} columns ({n} x {n} pixels and {max_scatterers} pairs of coordinates)"
            f" {row.separated}, found {len(row.fields)}."
        )
    return row.numbers(0, n * n).astype(np.float32).reshape(n, n)


def _positions(row: Row, n: int, grid: Grid) -> NDArray[np.float64]:
    """Used scatterer positions (scatterer, 2) of an image row in nm."""
    first = n * n
    angstrom = row.numbers(first, len(row.fields)).reshape(-1, 2)
    used = np.flatnonzero((angstrom != UNUSED_ANGSTROM).any(axis=1))
    position_nm = np.array(
        [[row.length_nm(first + 2 * s + axis) for axis in (0, 1)] for s in used.tolist()], dtype=np.float64
    ).reshape(-1, 2)
    half = grid.size_x_nm / 2
    outside = np.abs(position_nm) > half * (1 + 1e-9)
    if outside.any():
        scatterer, axis = np.argwhere(outside)[0]
        column = first + 2 * used[scatterer] + axis + 1
        raise InvalidDataError(
            f"{row.place}, column {column}: {'xy'[axis]} = {10 * position_nm[scatterer, axis]:g} Angstrom lies outside"
            f" the field of -{10 * half:g} to {10 * half:g} Angstrom."
        )
    return position_nm


def _compare_orders(parts: Sequence[CsvFile]) -> dict[AxisOrder, float]:
    """Median forward residual, in both axis orders, of a few images of a few files."""
    found: dict[AxisOrder, list[float]] = {"x_first": [], "y_first": []}
    for p in _evenly(len(parts), _COMPARED_FILES):
        part = parts[p]
        chosen = _evenly(len(part.image), _COMPARED_IMAGES)
        position_nm = _padded([part.position_nm[i] for i in chosen], part.max_scatterers)
        for order, residuals in found.items():
            kernel, image = _images(part.kernel, order), _images(part.image[chosen], order)
            residuals += forward_residual(part.grid, kernel, image, position_nm).tolist()
    return {order: float(np.median(residuals)) for order, residuals in found.items()}


def _evenly(count: int, wanted: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, wanted))})
