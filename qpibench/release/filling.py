"""Writes a release file: creates its layout, writes it block by block, adds the digests, and renames it when complete.

HDF5 creates the empty arrays, and the full size of the file is reserved on the disk. Several threads then compute,
hash and write one block of observations each, directly at its offset in the file and without HDF5. Memory holds one
block per thread. A journal beside the file lists the blocks that are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.files import check_file
from qpibench.memory import memory
from qpibench.release import datasets, identity, layout
from qpibench.release.attributes import check_layout
from qpibench.release.blocks import Work, write_blocks
from qpibench.release.contents import Outline, contents
from qpibench.release.hdf5 import structure
from qpibench.release.layout import Array
from qpibench.release.partial import Partial
from qpibench.specs import ImportedSpec, ReleaseSpec
from qpibench.specs.species import species_count
from qpibench.synthesis.contract import Observations

Compression = Literal["gzip"]

SPLIT_ROW_BYTES = 64
"""Bytes of memory per observation that drawing the splits needs: a few lists of 64-bit indices."""


def check_request(target: Path, *, overwrite: bool, compression: str | None = None, resumable: bool = True) -> None:
    """Refuse a target that cannot be written or must not be replaced, before any work is done."""
    if compression not in (None, "gzip"):
        raise UsageError(f"There is no compression '{compression}'; choose gzip, or none.")
    remedy = f"{'resume it, ' if resumable else ''}overwrite it, or choose another file"
    check_file(target, if_exists=None if overwrite else remedy)


def check_memory(spec: ReleaseSpec, target: Path) -> None:
    """Refuse a release whose kernels and splits do not fit into memory. Its images need not: they are streamed.

    Raises
    ------
    QpibenchError
        If the memory that is available is smaller.
    """
    kernel_bytes = 4 * spec.grid.ny * spec.grid.nx + 100
    needed = species_count(spec) * spec.kernels.count * kernel_bytes + spec.observation_count * SPLIT_ROW_BYTES
    found = memory()
    if found is not None and needed > found.available:
        raise QpibenchError(
            f"'{target}' needs about {needed:,} bytes of memory for its kernels and splits, and {found.available:,} are"
            " available; make fewer kernels or images at once."
        )


@contextmanager
def explained(partial: Partial, *, resumable: bool) -> Iterator[None]:
    """Add to the error of a failed or interrupted write whether the file is kept; only resumable files are kept."""
    kept = "what is written is kept and can be resumed" if resumable else "nothing is kept"
    try:
        yield
    except BaseException as error:
        if not resumable:
            partial.discard()
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"Writing '{partial.target}' was interrupted; {kept}.") from None
        if isinstance(error, OSError):
            raise QpibenchError(f"Writing '{partial.target}' failed: {error.strerror or error}; {kept}.") from error
        raise


def fill(
    outline: Outline,
    partial: Partial,
    compute: Callable[[int, int], Observations],
    work: Work,
    *,
    resume: bool = False,
    compression: Compression | None = None,
) -> str:
    """Write a whole release and rename it to its target; `compute(start, stop)` returns the observations of these rows.

    Returns
    -------
    str
        `content_sha256`.
    """
    spec = outline.spec
    expected, values = contents(outline)
    attributes = layout.release_attributes(spec)
    title = f"qpibench release of format {layout.format_version(spec)}, spec {spec.canonical_json()}"
    arrays, done = prepare(partial, expected, attributes, title=title, resume=resume)
    for name, column in values.items():
        partial.write_rows(arrays[name], 0, column)
    partial.open_journal(title, append=bool(done))
    observed = [array for array in arrays.values() if array.group == "observations"]
    blocks = range(identity.block_count(observed[0]))
    block_digests = write_blocks(partial, observed, compute, done, blocks=blocks, work=work)
    finished = partial.path if compression is None else _compressed(partial, arrays, attributes)
    content = write_digests(finished, spec, arrays, block_digests, values)
    partial.commit(finished)
    return content


def write_digests(
    path: Path,
    spec: ReleaseSpec | ImportedSpec,
    arrays: Mapping[str, Array],
    block_digests: NDArray[np.uint8],
    values: Mapping[str, NDArray[Any]],
) -> str:
    """Write all digests into a release whose values are complete.

    Parameters
    ----------
    path, spec, arrays
        The file, its spec, and its arrays by name.
    block_digests
        Digests of the observations, (block, array, 32) uint8.
    values
        Values of all other arrays, by name.

    Returns
    -------
    str
        `content_sha256`.
    """
    observed = [array for array in arrays.values() if array.group == "observations"]
    digests = {array.name: identity.array_digest(array, block_digests[:, i]) for i, array in enumerate(observed)}
    for name, column in values.items():
        digests[name] = identity.array_digest(arrays[name], identity.hash_blocks(arrays[name], column))
    content = identity.content_digest(spec.canonical_json(), digests)
    datasets.sign(path, digests, content_sha256=content)
    return content


def prepare(
    partial: Partial,
    expected: Mapping[str, Array],
    attributes: Mapping[str, str | int],
    *,
    title: str,
    resume: bool,
) -> tuple[dict[str, Array], dict[int, bytes]]:
    """Create the layout of a file, or take over the file of an interrupted run.

    Parameters
    ----------
    partial
        The file under construction.
    expected, attributes
        Its arrays, and the attributes of its root group.
    title
        First line of the journal. It identifies the release or shard that is being written.
    resume
        Keep the blocks that an interrupted run has written.

    Returns
    -------
    tuple
        The arrays by name with their offsets, and the digests of the blocks that are in the file.

    Raises
    ------
    InvalidDataError
        If the interrupted run wrote another release or shard.
    """
    stated, done = partial.journaled() if resume else ("", {})
    if stated and stated != title:
        raise InvalidDataError(
            f"'{partial.path}' is from an interrupted run of another release or shard; add --overwrite or choose"
            " another file."
        )
    if done:
        with suppress(QpibenchError), structure(partial.path, own=True) as file:
            check_layout(file, attributes, expected)
            return datasets.place(file, expected), done
    partial.journal_path.unlink(missing_ok=True)
    with partial.claim(partial.path, datasets.file_bytes(expected, attributes)):
        datasets.create(partial.path, expected, attributes)
    with structure(partial.path, own=True) as file:
        return datasets.place(file, expected), {}


def _compressed(partial: Partial, arrays: Mapping[str, Array], attributes: Mapping[str, str | int]) -> Path:
    """Write a compressed copy of the file, still without digests, and return its path."""
    path = partial.compressed_path
    with partial.claim(path, datasets.file_bytes(arrays, attributes)):
        datasets.create(path, arrays, attributes, dataset=datasets.compressed)
    with h5py.File(partial.path, "r", locking=False) as plain, h5py.File(path, "r+", locking=False) as packed:
        for name, array in arrays.items():
            for block in range(identity.block_count(array)):
                start, stop = identity.block_rows(array, block)
                packed[name][start:stop] = plain[name][start:stop]
    return path
