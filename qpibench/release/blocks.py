"""Computes, hashes and writes blocks of observations on several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import BoundedSemaphore
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.processors import processors
from qpibench.release import identity, layout
from qpibench.release.layout import Array
from qpibench.release.parallel import as_completed
from qpibench.release.partial import Partial
from qpibench.synthesis.contract import Observations

Progress = Callable[[int, int], None]
"""Called with the number of observations that are complete and their total number."""

Check = Callable[[int, NDArray[np.uint8]], None]
"""Called with the number of a block and its digests, (array, 32) uint8; raises an error if the digests are wrong."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """How blocks are processed. The contents of the blocks do not depend on it.

    Attributes
    ----------
    threads
        Number of threads; one per available processor if None.
    check, progress
        Called after every block.
    """

    threads: int | None = None
    check: Check | None = None
    progress: Progress | None = None


def write_blocks(
    partial: Partial,
    arrays: Sequence[Array],
    compute: Callable[[int, int], Observations],
    done: Mapping[int, bytes],
    *,
    blocks: range,
    work: Work,
) -> NDArray[np.uint8]:
    """Compute and write the blocks that are not in the file yet.

    Parameters
    ----------
    partial
        The file under construction, with its journal open.
    arrays
        The arrays of the observations, with their offsets in the file.
    compute
        Makes the observations of a part of a block; called with its first row and the row after its last.
    done
        Digests of the blocks that an earlier run wrote. A block whose bytes in the file have another digest is written
        again.
    blocks
        Numbers of the blocks.
    work
        Threads, check and progress.

    Returns
    -------
    ndarray
        Digests of these blocks, (block, array, 32) uint8.
    """
    threads = work.threads or processors()
    computing = BoundedSemaphore(threads)

    def write(start: int, stop: int) -> Iterator[NDArray[Any]]:
        computed = compute(start, stop).columns()
        for array in arrays:
            rows = array.rows(computed[array.field])
            computing.release()
            try:
                partial.write_rows(array, start, rows)
            finally:
                computing.acquire()
            yield rows

    def stored(start: int, stop: int) -> Iterator[NDArray[Any]]:
        subject = f"'{partial.path}'"
        return (layout.read_rows(partial.fd, array, start, stop, subject=subject) for array in arrays)

    def make(block: int) -> NDArray[np.uint8]:
        with computing:
            if block in done:
                found = identity.hash_block(arrays, block, stored)
                if found.tobytes() == done[block]:
                    return found
            made = identity.hash_block(arrays, block, write)
        partial.record(block, made.tobytes())
        return made

    # One thread more than the number that may compute at the same time: one thread is usually waiting for the disk.
    return _collect(make, arrays, blocks, replace(work, threads=threads + 1))


def hash_blocks(
    arrays: Sequence[Array], rows: Callable[[int, int], Iterable[NDArray[Any]]], work: Work
) -> NDArray[np.uint8]:
    """Hash all blocks of arrays of equal length; :func:`qpibench.release.identity.hash_block` describes `rows`.

    Returns
    -------
    ndarray
        Digests, (block, array, 32) uint8.
    """
    blocks = range(identity.block_count(arrays[0]))
    return _collect(lambda block: identity.hash_block(arrays, block, rows), arrays, blocks, work)


def _collect(
    make: Callable[[int], NDArray[np.uint8]], arrays: Sequence[Array], blocks: range, work: Work
) -> NDArray[np.uint8]:
    digests = np.empty((len(blocks), len(arrays), 32), np.uint8)
    done, total = 0, _row_count(arrays[0], blocks)
    for block, made in as_completed(make, blocks, threads=work.threads):
        if work.check is not None:
            work.check(block, made)
        digests[block - blocks.start] = made
        done += _row_count(arrays[0], range(block, block + 1))
        if work.progress is not None:
            work.progress(done, total)
    return digests


def _row_count(array: Array, blocks: range) -> int:
    return identity.block_rows(array, blocks[-1])[1] - identity.block_rows(array, blocks[0])[0] if blocks else 0
