"""Readers of foreign files: one file for each format, found by name.

A reader is a module with the member of :class:`Reader`; :mod:`qpibench.readers.csv` is the first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
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
        SHA-256 of every file that was read, hexadecimal.
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
