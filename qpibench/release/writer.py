"""Writes releases: streaming, on several threads, resumable, and visible under their name only when complete.

The file is laid out empty by HDF5 and its whole size claimed on the disk. Threads then compute, hash and write one
block of observations each, straight to its place in the file. HDF5 is not involved, and memory holds a block for each
thread. Which blocks are in the file is kept in a journal beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.release import identity, layout
from qpibench.release.contents import contents, observation_kernel
from qpibench.release.layout import Array
from qpibench.release.parallel import as_completed, available_threads
from qpibench.release.partial import Partial
from qpibench.release.reader import open_release
from qpibench.specs import Grid, ImportedSpec, ReleaseSpec
from qpibench.synthesis.contract import Backend, Kernels, Observations

Progress = Callable[[int, int], None]
Compression = Literal["gzip"]


def write_release(
    spec: ReleaseSpec,
    path: str | Path,
    *,
    backend: Backend,
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    compression: Compression | None = None,
    progress: Progress | None = None,
) -> str:
    """Generate a release.

    A run that was interrupted, even by a power failure, leaves ``.NAME.partial`` and ``.NAME.journal`` beside the
    target; with `resume` it is completed, without it the next run starts afresh. An existing target stays as it is
    until the new file is complete.

    Parameters
    ----------
    spec
        What to generate.
    path
        The file to write.
    backend
        Who computes it; all backends give the same bits.
    threads
        Number of threads; as many as there are processors if None.
    resume
        Complete an interrupted run. Where there is none, start afresh; if the target is complete already, do nothing.
    overwrite
        Allow to replace an existing target. With `resume`, complete an interrupted run that was to replace it.
    compression
        ``"gzip"`` compresses images and positions; the file cannot be memory-mapped then. While it is written it takes
        twice the space of the uncompressed file.
    progress
        Called with the number of observations that are done and their total.

    Returns
    -------
    str
        `content_sha256` of the release.

    Raises
    ------
    UsageError
        If the target exists (without `resume` or `overwrite`) or its folder does not.
    InvalidDataError
        If what is to be resumed is of another spec.
    QpibenchError
        If another process writes the same file, or the disk is full or fails.
    """
    target = Path(path)
    if resume and not overwrite and target.exists():
        return _finished(target, spec)
    _check_request(target, overwrite=overwrite, compression=compression)
    with Partial(target) as partial:
        kernels = backend.kernels(spec)
        return _write(
            spec,
            partial,
            kernels,
            lambda start, stop: backend.observations(spec, kernels, start, stop),
            observation_kernel=observation_kernel(spec),
            max_scatterers=spec.scatterers.max,
            threads=threads,
            resume=resume,
            compression=compression,
            progress=progress,
        )


def write_imported(
    spec: ImportedSpec,
    path: str | Path,
    kernels: Kernels,
    observations: Observations,
    *,
    overwrite: bool = False,
    compression: Compression | None = None,
    progress: Progress | None = None,
) -> str:
    """Write a release from arrays in memory.

    Observations may show the kernels in any order; what is not known of a kernel is NaN, and its fold -1.

    Parameters
    ----------
    spec
        Where the arrays come from.
    path
        The file to write.
    kernels, observations
        All kernels and all observations, on the spec's grid.
    overwrite, compression, progress
        As in :func:`write_release`.

    Returns
    -------
    str
        `content_sha256` of the release.

    Raises
    ------
    InvalidDataError
        If the arrays do not fit together.
    UsageError, QpibenchError
        As in :func:`write_release`.
    """
    target = Path(path)
    _check_request(target, overwrite=overwrite, compression=compression)
    if not len(observations):
        raise InvalidDataError(f"Release '{spec.name}' has no observations.")
    if observations.kernel.min() < 0 or observations.kernel.max() >= len(kernels):
        raise InvalidDataError(
            f"Release '{spec.name}': an observation shows a kernel that is not among {len(kernels)}."
        )

    def take(start: int, stop: int) -> Observations:
        fields = vars(observations).items()
        return Observations(**{name: identity.canonical(values[start:stop]) for name, values in fields})

    with Partial(target) as partial:
        try:
            return _write(
                spec,
                partial,
                kernels,
                take,
                observation_kernel=observations.kernel,
                max_scatterers=observations.position_nm.shape[1],
                compression=compression,
                progress=progress,
            )
        except BaseException:
            partial.discard()
            raise


def _finished(target: Path, spec: ReleaseSpec) -> str:
    with open_release(target) as release:
        if release.spec != spec:
            raise InvalidDataError(
                f"'{target}' is complete but of another spec ('{release.name}'); choose another file or overwrite it."
            )
        return release.content_sha256


def _check_request(target: Path, *, overwrite: bool, compression: str | None) -> None:
    if compression not in (None, "gzip"):
        raise UsageError(f"There is no compression '{compression}'; choose gzip, or none.")
    if target.is_dir() or not target.name:
        raise UsageError(f"'{target}' is a folder; name the file to write.")
    if not target.parent.is_dir():
        raise UsageError(f"Folder '{target.parent}' does not exist; create it first.")
    if target.exists() and not overwrite:
        raise UsageError(f"'{target}' exists already; resume it, overwrite it, or choose another file.")


def _write(
    spec: ReleaseSpec | ImportedSpec,
    partial: Partial,
    kernels: Kernels,
    compute: Callable[[int, int], Observations],
    *,
    observation_kernel: NDArray[np.int32],
    max_scatterers: int,
    threads: int | None = None,
    resume: bool = False,
    compression: Compression | None = None,
    progress: Progress | None = None,
) -> str:
    expected, values = contents(spec, kernels, observation_kernel, max_scatterers)
    try:
        arrays, done = _prepare(spec, partial, expected, resume=resume)
        for name, column in values.items():
            partial.write_rows(arrays[name], 0, column)
        partial.open_journal(_title(spec), append=bool(done))
        observed = [array for array in arrays.values() if array.group == "observations"]
        block_digests = _write_blocks(partial, observed, compute, done, threads=threads, progress=progress)
        digests = {array.name: identity.array_digest(array, block_digests[:, i]) for i, array in enumerate(observed)}
        for name, column in values.items():
            digests[name] = identity.array_digest(arrays[name], identity.hash_blocks(arrays[name], column))
        content = identity.content_digest(spec.canonical_json(), digests)
        finished = partial.path if compression is None else _compressed(spec, partial, arrays)
        layout.sign(finished, digests, content)
        partial.commit(finished)
    except (KeyboardInterrupt, OSError) as error:
        kept = "what is written is kept and can be resumed" if isinstance(spec, ReleaseSpec) else "nothing is kept"
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"Writing '{partial.target}' was interrupted; {kept}.") from None
        raise QpibenchError(f"Writing '{partial.target}' failed: {error.strerror or error}; {kept}.") from error
    return content


def _title(spec: ReleaseSpec | ImportedSpec) -> str:
    """First line of the journal: what the file will be."""
    return f"qpibench release of format {layout.FORMAT_VERSION}, spec {spec.canonical_json()}"


def _prepare(
    spec: ReleaseSpec | ImportedSpec, partial: Partial, expected: Mapping[str, Array], *, resume: bool
) -> tuple[dict[str, Array], dict[int, bytes]]:
    """Make the file ready for values; return its arrays with their places, and the digests of the blocks it has."""
    title, done = partial.journaled() if resume else ("", {})
    if title and title != _title(spec):
        raise InvalidDataError(
            f"'{partial.path}' is an interrupted release of another spec; overwrite it or choose another file."
        )
    if done:
        with suppress(OSError, RuntimeError, KeyError, InvalidDataError):
            arrays = _locate(partial.path, spec.grid)
            if arrays.keys() == expected.keys():
                return arrays, done
    partial.journal_path.unlink(missing_ok=True)
    with partial.claim(partial.path, layout.file_bytes(expected, spec)):
        layout.create(partial.path, expected, spec)
    return _locate(partial.path, spec.grid), {}


def _locate(path: Path, grid: Grid) -> dict[str, Array]:
    with h5py.File(path, "r", locking=False) as file:
        return layout.locate(file, grid)


def _write_blocks(
    partial: Partial,
    arrays: Sequence[Array],
    compute: Callable[[int, int], Observations],
    done: Mapping[int, bytes],
    *,
    threads: int | None,
    progress: Progress | None,
) -> NDArray[np.uint8]:
    """Write all blocks of the observations that are not there yet; return all block digests, (block, array, 32)."""
    count = identity.block_count(arrays[0])
    digests = np.empty((count, len(arrays), 32), np.uint8)
    observations = 0
    threads = threads or available_threads()
    computing = BoundedSemaphore(threads)

    def write(start: int, stop: int) -> Iterator[NDArray[Any]]:
        computed = compute(start, stop)
        for array in arrays:
            rows = array.rows(getattr(computed, array.field))
            computing.release()
            try:
                partial.write_rows(array, start, rows)
            finally:
                computing.acquire()
            yield rows

    def stored(start: int, stop: int) -> Iterator[NDArray[Any]]:
        return (layout.read_rows(partial.fd, array, start, stop) for array in arrays)

    def make(block: int) -> NDArray[np.uint8]:
        with computing:
            if block in done:
                found = identity.hash_block(arrays, block, stored)
                if found.tobytes() == done[block]:
                    return found
            made = identity.hash_block(arrays, block, write)
        partial.record(block, made.tobytes())
        return made

    # One thread more than may compute, because one of them mostly waits for the disk.
    for block, block_digests in as_completed(make, range(count), threads=threads + 1):
        digests[block] = block_digests
        start, stop = identity.block_rows(arrays[0], block)
        observations += stop - start
        if progress is not None:
            progress(observations, arrays[0].shape[0])
    return digests


def _compressed(spec: ReleaseSpec | ImportedSpec, partial: Partial, arrays: Mapping[str, Array]) -> Path:
    """Write a compressed copy of the file, without its digests."""
    path = partial.compressed_path
    with partial.claim(path, layout.file_bytes(arrays, spec)):
        layout.create(path, arrays, spec, compress=True)
    with h5py.File(partial.path, "r", locking=False) as plain, h5py.File(path, "r+", locking=False) as packed:
        for name, array in arrays.items():
            for block in range(identity.block_count(array)):
                start, stop = identity.block_rows(array, block)
                packed[name][start:stop] = plain[name][start:stop]
    return path
