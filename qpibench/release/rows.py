"""Arrays of files that are indexed like NumPy arrays, and of which only the rows that are asked for are read."""

from __future__ import annotations

import mmap
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError
from qpibench.release.layout import Array
from qpibench.release.remote import Place, Url, read_ranges

GAP_BYTES = 1 << 13
"""Rows at a URL that are at most so many bytes apart are read by one request."""

PART_BYTES = 1 << 24
"""Largest number of bytes that one request asks for, so that a slow network does not exceed the time for an answer."""


class Rows(ABC):
    """An array of which rows are gathered; the index of the first axis is applied before those of the other axes.

    Attributes
    ----------
    shape, dtype
        As of a NumPy array.
    """

    def __init__(self, array: Array) -> None:
        self.shape, self.dtype = array.shape, np.dtype(array.dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        first, *others = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis:
            first = slice(None)
        rows = np.arange(*first.indices(self.shape[0])) if isinstance(first, slice) else np.asarray(first)
        chosen = np.atleast_1d(rows)
        gathered = self._gather(np.where(chosen < 0, chosen + self.shape[0], chosen))
        return (gathered if rows.ndim else gathered[0])[(slice(None),) * rows.ndim + tuple(others)]

    @abstractmethod
    def _gather(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Read rows, which are numbers from 0 in any order."""


def stored_rows(place: Place, array: Array) -> MappedRows | RemoteRows:
    """A contiguous array of a file or of a URL."""
    return RemoteRows(place, array) if isinstance(place, Url) else MappedRows(place, array)


class MappedRows:
    """A contiguous array of a local file, mapped into memory and indexed like a NumPy array.

    The system ends a process that reads a mapped page behind the end of its file. Therefore the size of the file is
    looked at before every read.

    Parameters
    ----------
    path, array
        The file, and the array with its offset in the file.

    Raises
    ------
    InvalidDataError
        If the file is too short, also when a value is read.
    """

    def __init__(self, path: Path, array: Array) -> None:
        self._path, self._name = path, array.name
        self._end = array.position(0) + array.nbytes
        first = array.position(0) // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        with open(path, "rb") as file:
            self._check(os.fstat(file.fileno()).st_size)
            self._map = mmap.mmap(file.fileno(), self._end - first, access=mmap.ACCESS_READ, offset=first)
        self._values: NDArray[Any] = np.ndarray(array.shape, array.dtype, self._map, array.position(0) - first)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        self._check(self._map.size())
        values: NDArray[Any] = self._values[key]
        return values

    def _check(self, size: int) -> None:
        if size < self._end:
            raise InvalidDataError(
                f"'{self._path}' is truncated: it has {size:,} bytes, and {self._name} ends at byte {self._end:,}."
            )


class RemoteRows(Rows):
    """A contiguous array of a file at a URL.

    Consecutive rows are one request, as are rows that are at most :data:`GAP_BYTES` apart. All requests of one index
    are made at the same time.

    Parameters
    ----------
    url, array
        The file, and the array with its offset in the file.
    """

    def __init__(self, url: Url, array: Array) -> None:
        super().__init__(array)
        self._url, self._array = url, array

    def _gather(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        wanted, inverse = np.unique(rows, return_inverse=True)
        runs = self._runs(wanted)
        ranges = [(self._array.position(start), self._array.position(stop)) for start, stop in runs]
        values = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for (start, stop), content in zip(runs, read_ranges(self._url, ranges), strict=True):
            first, last = np.searchsorted(wanted, (start, stop))
            read = np.frombuffer(content, self.dtype).reshape(stop - start, *self.shape[1:])
            values[first:last] = read[wanted[first:last] - start]
        return values if np.array_equal(wanted, rows) else values[inverse]

    def _runs(self, rows: NDArray[np.intp]) -> list[tuple[int, int]]:
        """Divide increasing rows into runs, each with its first row and the row after its last."""
        if not rows.size:
            return []
        row_bytes = self._array.row_bytes
        ends = np.flatnonzero((np.diff(rows) - 1) * row_bytes > GAP_BYTES)
        runs = zip(rows[np.append(0, ends + 1)].tolist(), rows[np.append(ends, -1)].tolist(), strict=True)
        step = max(1, PART_BYTES // row_bytes)
        return [(at, min(at + step, last + 1)) for first, last in runs for at in range(first, last + 1, step)]
