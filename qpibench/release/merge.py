"""Makes one release from its shards: either a copy of their observations, or a virtual file that refers to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.release import datasets, identity, layout, virtual
from qpibench.release.blocks import Progress, Work, hash_blocks
from qpibench.release.contents import Outline, contents
from qpibench.release.filling import check_memory, check_request, explained, fill, write_digests
from qpibench.release.hdf5 import structure
from qpibench.release.partial import Partial
from qpibench.release.shards import Shards, open_shard
from qpibench.synthesis.contract import Backend, Observations


def merge_shards(
    folders: str | Path | Sequence[str | Path],
    path: str | Path,
    *,
    backend: Backend,
    as_virtual: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Make one release from all its shards.

    Before anything is written, the shards are checked: they must belong to one release, and each must be present once.
    Every value is then read and hashed, block by block, and compared with the digests in its shard. An existing target
    is not changed until the new file is complete. A merge that fails leaves no file.

    Parameters
    ----------
    folders
        The folder of the shards, or several, such as one on each disk. Every file ``*.h5`` in them that is not a
        complete release is taken for a shard.
    path
        The file to write.
    backend
        Computes the kernels and splits of the release, which shards do not contain.
    as_virtual
        Write a small file that refers to the shards instead of copying them. File and shards may be moved together,
        except for shards on another disk than the file, to which it refers by their absolute paths.
    overwrite
        Allow to replace an existing target.
    threads, progress
        As in :func:`qpibench.release.write_release`.

    Returns
    -------
    str
        `content_sha256`, equal to that of the release generated without shards.

    Raises
    ------
    UsageError
        If there is no such folder, or the target exists (without `overwrite`) or its folder does not.
    InvalidDataError
        If a shard is missing, present twice, damaged, or belongs to another release.
    QpibenchError
        If another process is writing the same file, the kernels and splits do not fit into memory, or the disk is full
        or fails.
    """
    target = Path(path)
    check_request(target, overwrite=overwrite, resumable=False)
    shards = _find_shards([Path(each) for each in ([folders] if isinstance(folders, (str, Path)) else folders)])
    if any(target.exists() and target.samefile(file.path) for file in shards.files):
        raise UsageError(f"'{target}' is one of the shards; choose another file.")
    check_memory(shards.spec, target)
    with Partial(target, overwrite=overwrite) as partial, explained(partial, resumable=False):
        work = Work(threads=threads, check=shards.check_block, progress=progress)
        outline = Outline.generated(shards.spec, backend.kernels(shards.spec))
        return (_refer if as_virtual else _copy)(shards, outline, partial, work)


def _find_shards(folders: Sequence[Path]) -> Shards:
    for folder in folders:
        if not os.path.isdir(folder):
            raise UsageError(f"There is no folder '{folder}'; name the folder of the shards.")
    distinct = list({os.path.realpath(folder): folder for folder in folders}.values())
    paths = [
        path
        for folder in distinct
        for path in sorted(folder.glob("*.h5"))
        if path.is_file() and not path.name.startswith(".")
    ]
    return Shards.checked([open_shard(path) for path in paths if not _is_release(path)], distinct)


def _is_release(path: Path) -> bool:
    with suppress(InvalidDataError), structure(path) as file:
        return "content_sha256" in datasets.attributes(file)
    return False


def _rows(shards: Shards, start: int, stop: int) -> Iterator[NDArray[Any]]:
    """Read rows of one block from every array of the observations."""
    file = shards.holding(start // identity.BLOCK_ROWS)
    return (file.read(name, start, stop) for name in file.arrays)


def _copy(shards: Shards, outline: Outline, partial: Partial, work: Work) -> str:
    fields = [array.field for array in shards.files[0].arrays.values()]
    return fill(
        outline,
        partial,
        lambda start, stop: Observations.of_columns(dict(zip(fields, _rows(shards, start, stop), strict=True))),
        work,
    )


def _refer(shards: Shards, outline: Outline, partial: Partial, work: Work) -> str:
    spec, folder = shards.spec, partial.place.parent
    observed = list(shards.files[0].arrays.values())
    block_digests = hash_blocks(observed, lambda start, stop: _rows(shards, start, stop), work)
    arrays, values = contents(outline)
    sources, columns = virtual.source_list(shards, folder)
    attributes = layout.release_attributes(spec)
    in_file = {name: array for name, array in arrays.items() if name in values} | sources
    with partial.claim(
        partial.path, datasets.file_bytes(in_file, attributes) + virtual.reference_bytes(shards, folder)
    ):
        datasets.create(partial.path, arrays | sources, attributes, dataset=virtual.virtual_dataset(shards, folder))
    with structure(partial.path, own=True) as file:
        located = datasets.place(file, in_file)
    for name, column in (values | columns).items():
        partial.write_rows(located[name], 0, column)
    content = write_digests(partial.path, spec, arrays, block_digests, values)
    partial.commit(partial.path)
    return content
