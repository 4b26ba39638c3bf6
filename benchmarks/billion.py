"""Simulate a release of 10^9 images on many workers: ``python -m benchmarks.billion``.

Few images are generated: those at the ends and in the middle, as shards of one block each. The rest of the run is
arithmetic: the rows of all shards, and the file that refers to them, with the names and the digests that they would
have. Exit code 1 if a number wraps, an image is in no shard or in two, or images repeat.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from benchmarks.machine import machine, sentence
from qpibench.cluster.generation import shard_count
from qpibench.release import Shard, layout, write_shard
from qpibench.release.identity import BLOCK_ROWS
from qpibench.release.shards import ShardFile, Shards
from qpibench.release.virtual import source_list, virtual_dataset
from qpibench.specs import ReleaseSpec, load_spec
from qpibench.synthesis import get_backend

SPEC = ("paper", ("kernels.count=1000", "observations_per_kernel=1000000"))
SLOTS = 1024
"""Tasks that run at the same time."""

GENERATED = 7
"""Blocks of which the images are generated."""

LARGEST_BYTES = 50_000_000
"""So many bytes may the file need for its list of shards and its references to them."""


def main() -> None:
    """Simulate the run and print its figures."""
    spec = load_spec(SPEC[0], overrides=SPEC[1])
    count = shard_count(spec, SLOTS)
    shards = [Shard(index, count) for index in range(1, count + 1)]
    nbytes = sum(array.nbytes for array in layout.observation_arrays(spec).values())
    print(f"{spec.observation_count:,} images, {nbytes / 1e12:.1f} TB, in {count:,} shards")
    problems = list(_rows(spec, shards))
    with tempfile.TemporaryDirectory() as folder:
        problems += _images(spec, Path(folder))
        started = time.perf_counter()
        size = _references(spec, shards, Path(folder))
    print(f"list of shards and references: {size / 1e6:.1f} MB, written in {time.perf_counter() - started:.1f} s")
    digests = sum(shard.arrays(spec)["block_digests"].nbytes for shard in shards)
    print(f"digests of blocks, which an open virtual release keeps in memory: {digests / 1e6:.0f} MB")
    if size > LARGEST_BYTES:
        problems.append(f"These are more than {LARGEST_BYTES / 1e6:g} MB.")
    print(sentence(machine()))
    if problems:
        sys.exit("\n".join(problems))


def _rows(spec: ReleaseSpec, shards: list[Shard]) -> Iterator[str]:
    """Whether every image is in one shard, and its number fits into the type of indices."""
    rows = [shard.rows(spec) for shard in shards]
    ends = [0, *(stop for _, stop in rows)]
    if [start for start, _ in rows] != ends[:-1] or ends[-1] != spec.observation_count:
        yield "An image is in no shard, or in two."
    if len({shard.file_name for shard in shards}) != len(shards):
        yield "Two shards have one name."
    if spec.observation_count - 1 > np.iinfo(np.int32).max:
        yield "The number of the last image does not fit into 32 bits."


def _images(spec: ReleaseSpec, folder: Path) -> Iterator[str]:
    """Whether shards at the ends and in the middle are read back as they were generated, and no image repeats."""
    backend, _ = get_backend("cpu")
    kernels = backend.kernels(spec)
    blocks = -(-spec.observation_count // BLOCK_ROWS)
    places = []
    for index in np.linspace(1, blocks, GENERATED).astype(int).tolist():
        file = write_shard(spec, folder, Shard(index, blocks), backend=backend, kernels=kernels)
        start, stop = file.shard.rows(spec)
        for name, values in backend.observations(spec, kernels, start, stop).columns().items():
            if file.read(f"observations/{name}", start, stop).tobytes() != values.tobytes():
                yield f"Images {start:,} to {stop - 1:,} are read back with other values of {name}."
        if file.read("observations/kernel", start, stop).tolist() != [
            row // spec.observations_per_kernel for row in range(start, stop)
        ]:
            yield f"Images {start:,} to {stop - 1:,} show other kernels."
        places.append(file.read("observations/position_nm", start, stop)[:, 0])
        file.path.unlink()
    first = np.concatenate(places)
    if len(np.unique(first, axis=0)) != len(first):
        yield "Two images have their first scatterer at the same place."


def _references(spec: ReleaseSpec, shards: list[Shard], folder: Path) -> int:
    """Size in bytes of a file with nothing but the list of all shards and the references to them."""
    named = tuple(
        ShardFile(
            path=folder / shard.file_name,
            shard=shard,
            spec=spec,
            arrays={},
            block_digests=np.empty((0, 0, 32), np.uint8),
            sha256=shard.digest(spec, np.array([shard.index])),
            nbytes=0,
        )
        for shard in shards
    )
    create = virtual_dataset(Shards(named), folder)
    with h5py.File(folder / "release.h5", "w", libver=("v110", "v110")) as file:
        for name, values in source_list(Shards(named), folder)[1].items():
            file[name] = values
        for array in layout.observation_arrays(spec).values():
            create(file, array)
    return (folder / "release.h5").stat().st_size


if __name__ == "__main__":
    main()
