"""Writes a kernel and its observations as a scatterer CSV file; :mod:`qpibench.readers.images.csv` has the layout."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.files import check_file
from qpibench.grid import Grid
from qpibench.readers.images.csv import UNUSED_ANGSTROM, UNUSED_NM
from qpibench.readers.images.csv.rows import angstrom
from qpibench.release.partial import Partial
from qpibench.release.reader import Release
from qpibench.specs import ImportedSpec
from qpibench.specs.species import species_count

ROWS_AT_ONCE = 256


def export_csv(release: Release, kernel: int, path: str | Path, *, overwrite: bool = False) -> int:
    """Write a kernel and all its observations, with enough digits that the same numbers are read back.

    The pixels of an imported release are written in the order in which they were read, so that importing the file gives
    the same release again. Other releases are written x first: the second value is the second pixel along y.

    Parameters
    ----------
    release
        The release.
    kernel
        Row of the kernel in the release's kernel table.
    path
        The file to write; it gets this name only when it is complete. A name that ends in ``.gz`` gives a file
        compressed by gzip.
    overwrite
        Allow to replace an existing file.

    Returns
    -------
    int
        Number of images written.

    Raises
    ------
    UsageError
        If there is no such kernel, the file exists (without `overwrite`) or its folder does not exist.
    InvalidDataError
        If the layout cannot represent the release: the grid is not square, a scatterer is outside the field, or
        there are two species. Or if the release is damaged; see :meth:`~qpibench.release.Release.check`.
    QpibenchError
        If the file cannot be written.
    """
    target = Path(path)
    check_file(target, if_exists=None if overwrite else "overwrite it or choose another file")
    if species_count(release.spec) > 1:
        raise InvalidDataError(
            f"Release '{release.name}' has two species of scatterers, and a file in the CSV layout has one kernel."
        )
    release.check("image", "position_nm")
    if not 0 <= kernel < len(release.kernels):
        raise UsageError(f"Release '{release.name}' has no kernel {kernel}; it has 0 to {len(release.kernels) - 1}.")
    _check_grid(release)
    rows = np.flatnonzero(release.observation_kernel == kernel)
    try:
        with Partial(target, overwrite=overwrite) as partial:
            try:
                os.ftruncate(partial.fd, 0)
                with (
                    open(partial.fd, "wb", closefd=False) as raw,
                    _zipped(raw) if target.suffix == ".gz" else raw as stream,
                    io.TextIOWrapper(stream, encoding="ascii", newline="\n") as file,
                ):
                    _write(file, release, kernel, rows)
                partial.commit(partial.path)
            except BaseException:
                partial.discard()
                raise
    except OSError as error:
        raise QpibenchError(f"Writing '{target}' failed: {error.strerror or error}; nothing was kept.") from error
    return len(rows)


def _zipped(raw: BinaryIO) -> gzip.GzipFile:
    """A compressed file without its name and time, so that the same text makes the same bytes."""
    return gzip.GzipFile("", "wb", fileobj=raw, mtime=0)


def _check_grid(release: Release) -> None:
    grid = release.grid
    if grid.ny != grid.nx or grid.size_y_nm != grid.size_x_nm:
        raise InvalidDataError(
            f"Release '{release.name}' is {grid.ny} x {grid.nx} pixels on {grid.size_y_nm:g} x {grid.size_x_nm:g} nm,"
            " but the CSV layout has square images only."
        )
    if grid.size_x_nm / 2 >= UNUSED_NM:
        raise InvalidDataError(
            f"Release '{release.name}' has a field that reaches {5 * grid.size_x_nm:g} Angstrom, but in the CSV layout"
            f" {UNUSED_ANGSTROM:g} marks an unused scatterer column."
        )


def _write(file: TextIO, release: Release, kernel: int, rows: NDArray[np.intp]) -> None:
    capacity = release.max_scatterers
    y_first = isinstance(release.spec, ImportedSpec) and release.spec.axis_order == "y_first"
    kernel_image = release.kernels.image[kernel]
    file.write(f"{release.grid.nx},{capacity}\n")
    file.write(",".join(map(angstrom, release.grid.x_nm)) + "\n")
    file.write(_row(kernel_image if y_first else kernel_image.T, np.zeros((1, 2)), capacity))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        chunk = rows[start : start + ROWS_AT_ONCE]
        observations = release.observations(chunk)
        positions = _used(observations.position_nm, observations.n_scatterers)
        for row, image, position_nm in zip(chunk, observations.image, positions, strict=True):
            _check_inside(release.grid, position_nm, row)
            file.write(_row(image if y_first else image.T, position_nm, capacity))


def _used(position_nm: NDArray[np.float64], counts: NDArray[np.int32]) -> Iterator[NDArray[np.float64]]:
    for padded, count in zip(position_nm, counts, strict=True):
        yield padded[:count]


def _check_inside(grid: Grid, position_nm: NDArray[np.float64], observation: np.intp) -> None:
    outside = (np.abs(position_nm) > grid.size_x_nm / 2).any(axis=1)
    if outside.any():
        x, y = position_nm[outside][0]
        raise InvalidDataError(
            f"Observation {observation} has a scatterer at ({x:g}, {y:g}) nm, outside the field, which the CSV"
            " layout does not allow."
        )


def _row(stored: NDArray[np.float32], position_nm: NDArray[np.float64], capacity: int) -> str:
    # NumPy writes a float32 with the digits that float32 needs; a Python float would have more.
    pixels = stored.ravel().astype(str).tolist()
    coordinates = [angstrom(value) for value in position_nm.ravel().tolist()]
    unused = [f"{UNUSED_ANGSTROM:g}"] * (2 * capacity - len(coordinates))
    return ",".join([*pixels, *coordinates, *unused]) + "\n"
