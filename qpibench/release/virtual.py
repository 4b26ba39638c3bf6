"""Virtual releases: the observations stay in the shards, and the file of the release refers to them.

In HDF5 the arrays of the observations are virtual data sets. For the rows of a missing shard HDF5 returns fill values
(NaN, or -1 for integers) without an error. Therefore the file has a list of its shards. :func:`open_sources` checks
that list before anything is read, and this package reads the rows in the shards without HDF5::

    /shards/file   (shard)  path of each shard, UTF-8, in order: relative to the folder of this file, or absolute if the
                            shard is on another disk
    /shards/bytes  (shard)  int64, size of the shard's file
    /shards/sha256 (shard)  digest of the shard
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.release import datasets, layout
from qpibench.release.layout import Array
from qpibench.release.parallel import as_completed
from qpibench.release.remote import Place, Url
from qpibench.release.rows import Rows, stored_rows
from qpibench.release.shards import Shard, ShardFile, Shards, open_shard
from qpibench.specs import ReleaseSpec

GROUP = "shards"

_SHARDS_AT_ONCE = 16

_MAPPED = 64
"""Greatest number of shards that an array keeps mapped: each takes a file descriptor, and a process often has 1,024."""

Listed = list[tuple[str, int, str]]
"""Path, size and digest of every shard."""


def source_list(shards: Shards, folder: Path) -> tuple[dict[str, Array], dict[str, NDArray[Any]]]:
    """The list of shards for a virtual release in this folder: its arrays by name, and their values by name."""
    values = {
        "file": np.array([os.fsencode(path) for path in _paths(shards, folder)]),
        "bytes": np.array([file.nbytes for file in shards.files], "<i8"),
        "sha256": np.array([file.sha256.encode() for file in shards.files]),
    }
    meanings = {"file": "path of the shard, relative to this file's folder", "bytes": "size", "sha256": "digest"}
    arrays = {
        f"{GROUP}/{name}": Array(
            name=f"{GROUP}/{name}",
            dtype=column.dtype.str,
            dims=("shard",),
            shape=column.shape,
            units="1",
            long_name=meanings[name],
        )
        for name, column in values.items()
    }
    return arrays, {f"{GROUP}/{name}": column for name, column in values.items()}


def reference_bytes(shards: Shards, folder: Path) -> int:
    """Largest number of bytes that HDF5 needs for references to the shards from a file in this folder."""
    return len(layout.observation_arrays(shards.spec)) * sum(
        len(os.fsencode(path)) + 256 for path in _paths(shards, folder)
    )


def virtual_dataset(shards: Shards, folder: Path) -> Callable[[h5py.File, Array], h5py.Dataset]:
    """Return the function that :func:`qpibench.release.datasets.create` needs for a virtual release in a folder."""
    # In names of source files HDF5 reads a percent sign as the start of a pattern.
    names = [path.replace("%", "%%") for path in _paths(shards, folder)]

    def create(file: h5py.File, array: Array) -> h5py.Dataset:
        if array.group != "observations":
            return datasets.contiguous(file, array)
        virtual = h5py.VirtualLayout(array.shape, array.dtype)
        virtual.dcpl.set_obj_track_times(False)  # two merges of the same shards have the same bytes
        for source, name in zip(shards.files, names, strict=True):
            start, stop = source.shard.rows(source.spec)
            if start < stop:
                virtual[start:stop] = h5py.VirtualSource(name, array.name, (stop - start, *array.shape[1:]))
        return file.create_virtual_dataset(array.name, virtual, fillvalue=np.nan if "f" in array.dtype else -1)

    return create


def _paths(shards: Shards, folder: Path) -> list[str]:
    """Paths of the shards: relative to the folder, or absolute on another disk, where they are not moved with it."""
    own = os.path.realpath(folder)
    found = [os.path.realpath(file.path) for file in shards.files]
    disk = {parent: os.stat(parent).st_dev for parent in {own, *map(os.path.dirname, found)}}
    return [os.path.relpath(path, own) if disk[os.path.dirname(path)] == disk[own] else path for path in found]


def listed_sources(file: h5py.File) -> Listed | None:
    """The list of shards in an open release; None if the release is not virtual."""
    if GROUP not in file:
        return None
    kinds = {"file": "S", "bytes": "i", "sha256": "S"}
    columns = [datasets.whole_list(file, f"{GROUP}/{name}", kind) for name, kind in kinds.items()]
    return [(os.fsdecode(path), size, digest.decode()) for path, size, digest in zip(*columns, strict=True)]


def locate(file: h5py.File, spec: ReleaseSpec) -> dict[str, Array]:
    """Find the arrays of an open virtual release; the arrays of its observations get no offsets.

    The virtual data sets are not opened: if their references are damaged, HDF5 may loop for ever.
    """
    expected = layout.arrays(spec, layout.sizes(spec), datasets.split_lengths(file))
    in_file = {name: array for name, array in expected.items() if array.group != "observations"}
    return expected | datasets.place(file, in_file)


def open_sources(path: Place, spec: ReleaseSpec, listed: Listed) -> Shards:
    """Check that all shards of a virtual release exist and are the ones from which it was made.

    The shards of a release at a URL are beside it.

    Raises
    ------
    InvalidDataError
        If a shard is missing or has been replaced by another.
    """
    return Shards(
        tuple(
            _source(path, _beside(path, file), Shard(number, len(listed)), spec, size, digest)
            for number, (file, size, digest) in enumerate(listed, 1)
        )
    )


def _beside(path: Place, file: str) -> Place:
    return path.beside(file) if isinstance(path, Url) else path.resolve().parent / file


def _source(path: Place, file: Place, shard: Shard, spec: ReleaseSpec, size: int, digest: str) -> ShardFile:
    again = f"put it back, or generate it again (--shard {shard} of spec '{spec.name}')"
    missing = InvalidDataError(f"'{path}' is virtual, and its shard '{file}' is missing; {again}.")
    if isinstance(file, Path):
        if not file.is_file():
            raise missing
        found = file.stat().st_size
        if found != size:
            raise InvalidDataError(
                f"'{path}' is virtual, and its shard '{file}' has {found:,} bytes instead of {size:,}; {again}."
            )
    try:
        source = open_shard(file)
    except UsageError:
        raise missing from None
    if (source.sha256, source.shard, source.spec) != (digest, shard, spec):
        raise InvalidDataError(f"'{path}' is virtual, and '{file}' is not the shard from which it was made; {again}.")
    return source


class Joined(Rows):
    """An array of the observations whose rows are in several shards."""

    def __init__(self, shards: Shards, name: str) -> None:
        super().__init__(shards.files[0].arrays[name])
        parts: list[tuple[Place, Array]] = []
        self._starts: list[int] = []
        self._is_remote = isinstance(shards.files[0].path, Url)
        for file in shards.files:
            start, stop = file.shard.rows(file.spec)
            if start < stop:
                array = file.arrays[name]
                here = replace(array, shape=(stop - start, *array.shape[1:]), offset=array.position(start))
                parts.append((file.path, here))
                self._starts.append(start)
        self._part = lru_cache(_MAPPED)(lambda part: stored_rows(*parts[part]))

    def _gather(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        part_of = np.searchsorted(self._starts, rows, side="right") - 1

        def fill(part: int) -> None:
            chosen = part_of == part
            values[chosen] = self._part(part)[rows[chosen] - self._starts[part]]

        parts = np.unique(part_of).tolist()
        if self._is_remote:  # the shards are asked at the same time
            for _ in as_completed(fill, parts, threads=_SHARDS_AT_ONCE):
                pass
        else:
            for part in parts:
                fill(part)
        return values
