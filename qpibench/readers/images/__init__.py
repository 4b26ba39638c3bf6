"""Readers of foreign files: one module for each format, found by its file name.

A reader is a module that defines the function of :class:`Reader`, such as :mod:`qpibench.readers.images.csv`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from qpibench import registry
from qpibench.grid import Grid

Progress = Callable[[int, int], None]
"""Called with the number of files that have been read and their total number."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images that a reader has read, with kernels and positions if the files contain them.

    Attributes
    ----------
    grid
        Grid of the images.
    image
        (map, y, x) float32, with y pointing up.
    files_sha256
        For each file the SHA-256 of the numbers in it, hexadecimal; see :func:`hash_numbers`. It is part of the
        identity of a release, so the same numbers written otherwise must give the same hash.
    kernel, kernel_image
        (map,) int32, the row of the kernel of each map, and (kernel, y, x) float32, the kernels. None if the kernels
        are not known.
    position_nm
        (map, scatterer, xy) float64, x and y of every scatterer in nm, padded with NaN. None if they are not known.
    axis_order
        The axis that runs slowest in the pixels of the file, if the reader had to determine it.
    remark
        A clause that informs the user about the reading; empty if there is nothing to say.
    details
        The same information as fields of JSON.
    warnings
        One sentence for each doubt about the data that a user must decide.
    places
        For each map the file and the row where it was read, such as ``"'kernel.csv', row 12"``; empty if the reader
        does not say.
    """

    grid: Grid
    image: NDArray[np.float32]
    files_sha256: tuple[str, ...]
    kernel: NDArray[np.int32] | None = None
    kernel_image: NDArray[np.float32] | None = None
    position_nm: NDArray[np.float64] | None = None
    axis_order: str | None = None
    remark: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


class Reader(Protocol):
    """Interface of a module that reads one foreign file format."""

    def read(self, files: Sequence[str | Path], *, progress: Progress | None = None) -> Images:
        """Read the files of one data set; there is at least one.

        Raises
        ------
        UsageError
            If a file is missing or given twice.
        InvalidDataError
            If a file does not have the format, or the files do not fit together; the message names the place.
        QpibenchError
            If a file cannot be read.
        """


def hash_numbers(grid: Grid, arrays: Iterable[NDArray[Any]]) -> str:
    """SHA-256 of the numbers that were read from a file, hexadecimal.

    It does not depend on how the file spells its numbers: line ends, separators, compression, number of digits.

    Parameters
    ----------
    grid
        Grid of the images.
    arrays
        The arrays in a fixed order. Type, shape and values of each are hashed; -0.0 counts as 0.0.
    """
    digest = hashlib.sha256(f"qpibench numbers {grid.model_dump_json()}\n".encode())
    for array in arrays:
        values = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")) + 0)
        digest.update(f"{values.dtype.str} {'x'.join(map(str, values.shape))}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def reader_names() -> tuple[str, ...]:
    """Names of all readers."""
    return registry.names(sys.modules[__name__])


def get_reader(name: str) -> Reader:
    """Import the reader of this name.

    Raises
    ------
    UsageError
        If there is no such reader.
    """
    return cast(Reader, registry.load(sys.modules[__name__], name, "reader"))
