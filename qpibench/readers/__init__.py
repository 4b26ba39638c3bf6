"""Readers of foreign files: one file for each format, found by name.

A reader is a module with the member of :class:`Reader`; :mod:`qpibench.readers.csv` is the first.
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
"""Called with the number of files that are read and their total."""


@dataclass(frozen=True, kw_only=True)
class Maps:
    """What a reader finds.

    Attributes
    ----------
    grid
        Grid of the images.
    image
        (map, y, x) float32, y upwards.
    files_sha256
        For each file the SHA-256 of the numbers in it, hexadecimal; see :func:`hash_numbers`. It is part of the
        identity of a release, so the same numbers written otherwise must give the same hash.
    kernel, kernel_image
        (map,) int32, and (kernel, y, x) float32: which kernel each map shows, and the kernels; None where the truth is
        not known.
    position_nm
        (map, scatterer, xy) float64, padded with NaN; None where it is not known.
    axis_order
        Which axis runs slowest in the file, where that had to be found out.
    remark
        What a user should know, as a clause; empty if nothing.
    details
        The same as fields of JSON.
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
    """What the module of a reader defines."""

    def read(self, files: Sequence[str | Path], *, progress: Progress | None = None) -> Maps:
        """Read files of one data set, one at least.

        Raises
        ------
        UsageError
            If a file is missing or given twice.
        InvalidDataError
            If a file is not of the format, or they do not fit together; the place is named.
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
    """The reader of a name.

    Raises
    ------
    UsageError
        If there is none.
    """
    return cast(Reader, registry.load(sys.modules[__name__], name, "reader"))
