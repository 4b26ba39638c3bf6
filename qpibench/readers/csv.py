"""The CSV layout of the published scatterer data set: one file for each kernel.

======  =======================================================================================
row     columns
======  =======================================================================================
1       resolution n, largest number of scatterers m
2       n pixel coordinates in Angstrom, the same along x and y
3       n*n values of the kernel, then 2*m scatterer coordinates: the kernel's own at (0, 0)
4...    n*n values of an image, then 2*m scatterer coordinates x1, y1, x2, y2, ... in Angstrom
======  =======================================================================================

A coordinate of 1000 stands for "no scatterer". Two data sets are published in this layout: 64 pixels on 400 Angstrom
with up to 20 scatterers, and 64 pixels on 100 Angstrom with up to 100. They do not state which of x and y runs slowest
in the n*n values.

Angstrom become nanometres in the decimal text, where the factor of ten is exact; a float64 would not survive it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.grid import Grid
from qpibench.readers import Maps, Progress
from qpibench.specs import MAX_SCATTERERS

AxisOrder = Literal["x_first", "y_first"]
"""Which coordinate of an image runs slowest: in ``"x_first"`` order, neighbouring values are neighbours along y."""

UNUSED_ANGSTROM = 1000.0
UNUSED_NM = UNUSED_ANGSTROM / 10

PITCH_TOLERANCE = 0.01
"""How far a pixel coordinate may lie off the even lattice, in pixels: the files round them."""

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


def read(files: Sequence[str | Path], *, progress: Progress | None = None) -> Maps:
    """Read scatterer CSV files, one for each kernel; see :class:`qpibench.readers.Reader`.

    The files do not say which of x and y runs slowest in the pixels. That order is taken in which the kernels,
    superposed at the scatterers, resemble the images more.
    """
    parts: list[CsvFile] = []
    for path in files:
        parts.append(read_file(path))
        _check_fits(parts)
        if progress is not None:
            progress(len(parts), len(files))
    residual = forward_residuals(parts)
    axis_order: AxisOrder = "y_first" if residual["y_first"] < residual["x_first"] else "x_first"
    counts = [len(part.image) for part in parts]
    positions = [position for part in parts for position in part.position_nm]
    position_nm = np.full((len(positions), max(part.max_scatterers for part in parts), 2), np.nan)
    for padded, position in zip(position_nm, positions, strict=True):
        padded[: len(position)] = position
    image = np.empty((sum(counts), *parts[0].grid.shape), dtype=np.float32)
    np.concatenate([_images(part.image, axis_order) for part in parts], out=image)
    return Maps(
        grid=parts[0].grid,
        image=image,
        files_sha256=tuple(part.sha256 for part in parts),
        kernel=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        kernel_image=np.ascontiguousarray(_images(np.stack([part.kernel for part in parts]), axis_order)),
        position_nm=position_nm,
        axis_order=axis_order,
        remark=f"pixels are read in the order {axis_order} (relative residual {residual[axis_order]:.3g})",
        details={"axis_order": axis_order, "residual": residual},
    )


def _check_fits(parts: list[CsvFile]) -> None:
    first, last = parts[0], parts[-1]
    if last.grid != first.grid:
        raise InvalidDataError(
            f"'{last.path}' has {last.grid.nx} pixels on {last.grid.size_x_nm:g} nm, but '{first.path}' has"
            f" {first.grid.nx} on {first.grid.size_x_nm:g} nm; import them into different releases."
        )
    for other in parts[:-1]:
        if other.sha256 == last.sha256:
            raise UsageError(f"'{last.path}' and '{other.path}' are the same; every kernel must be given once.")


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


def nanometres(angstrom: str) -> float:
    """Read a length in Angstrom: the float64 nearest to a tenth of it.

    Raises
    ------
    ValueError
        If the text is not a number.
    """
    mantissa, _, exponent = angstrom.strip().lower().partition("e")
    return float(f"{mantissa}e{int(exponent or 0) - 1}")


def angstrom(nm: float) -> str:
    """Write a length so that :func:`nanometres` reads the same float64."""
    return format(Decimal(repr(float(nm))).scaleb(1), "f")


def forward_residuals(parts: Sequence[CsvFile]) -> dict[AxisOrder, float]:
    """Compare images with the superposition of their kernel, in both axis orders.

    Parameters
    ----------
    parts
        The files; a few images of a few of them are looked at.

    Returns
    -------
    dict
        Norm of the difference over norm of the images. It does not vanish in the right order, because a kernel that
        is known on its own window only cannot be superposed to the edges of the field.
    """
    difference = {"x_first": 0.0, "y_first": 0.0}
    total = 0.0
    for p in _evenly(len(parts), _COMPARED_FILES):
        part = parts[p]
        for i in _evenly(len(part.image), _COMPARED_IMAGES):
            image, position_nm = part.image[i].astype(np.float64), part.position_nm[i]
            total += float((image**2).sum())
            difference["x_first"] += float(((image - _superpose(part, position_nm)) ** 2).sum())
            difference["y_first"] += float(((image - _superpose(part, position_nm[:, ::-1])) ** 2).sum())
    scale = total or 1.0
    return {
        "x_first": float(np.sqrt(difference["x_first"] / scale)),
        "y_first": float(np.sqrt(difference["y_first"] / scale)),
    }


def _evenly(count: int, wanted: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, wanted))})


def _superpose(part: CsvFile, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Superpose a tabulated kernel, zero outside its window; positions in the order of the array's axes."""
    from scipy.interpolate import RectBivariateSpline

    pixels = part.grid.x_nm
    degree = min(3, len(pixels) - 1)
    spline = RectBivariateSpline(pixels, pixels, part.kernel.astype(np.float64), kx=degree, ky=degree)
    image = np.zeros(part.grid.shape)
    for slow, fast in position:
        rows = np.flatnonzero(np.abs(pixels - slow) <= pixels[-1])
        columns = np.flatnonzero(np.abs(pixels - fast) <= pixels[-1])
        image[np.ix_(rows, columns)] += spline(pixels[rows] - slow, pixels[columns] - fast)
    return image
