"""Recomputes the content hash of a release from its file and, if wanted, from its spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.release import identity
from qpibench.release.attributes import check_attributes
from qpibench.release.blocks import Progress, Work, hash_blocks
from qpibench.release.contents import Outline, contents
from qpibench.release.layout import Array
from qpibench.release.reader import Release, open_release
from qpibench.release.soundness import BlockDigests, read_digests
from qpibench.specs import ReleaseSpec
from qpibench.synthesis.contract import Backend


def verify_release(
    path: str | Path,
    *,
    backend: Backend | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Check that a file has its stated `content_sha256` and, with a backend, that its spec gives the same values.

    Parameters
    ----------
    path
        The release file.
    backend
        Also generates the release again, in memory and block by block, and compares. All backends give the same bits.
    threads
        Number of threads; one per available processor if None.
    progress
        Called with the number of observations that are checked and their total number (doubled with a backend).

    Returns
    -------
    str
        The recomputed `content_sha256`.

    Raises
    ------
    UsageError
        If there is no such file, or a backend is given and the release was imported.
    InvalidDataError
        If the file is not a complete release, a value differs from the stored hash or from the spec, or an attribute
        or a dimension differs from those that the writer writes.
    """
    with open_release(path) as release:
        spec = release.spec
        if backend is not None and not isinstance(spec, ReleaseSpec):
            raise UsageError(f"'{path}' was imported and cannot be generated again; verify it without regenerating.")
        parts = 1 if backend is None else 2
        stored, problem = read_digests(release, release.arrays, threads=threads, progress=_part(progress, 0, parts))
        if backend is not None and isinstance(spec, ReleaseSpec):
            _compare(release, stored, _generated_digests(spec, backend, threads, _part(progress, 1, parts)))
        digests = {name: identity.array_digest(array, stored[name]) for name, array in release.arrays.items()}
        content = identity.content_digest(spec.canonical_json(), digests)
        if content != release.content_sha256:
            differing = [name for name, array in release.arrays.items() if array.sha256 not in (None, digests[name])]
            where = f"{differing[0]} has changed" if differing else "its spec or its list of arrays has changed"
            raise InvalidDataError(
                f"'{path}' has other contents than its hash states: {where}; the hash of its values is"
                f" {content}, and the stored one is {release.content_sha256}."
            )
        if problem is not None:
            raise InvalidDataError(f"'{path}' was written as it is, but is not valid: {problem}.")
        check_attributes(release, digests)
        return content


def _part(progress: Progress | None, part: int, parts: int) -> Progress | None:
    """Report the progress of one of several parts of equal length as progress of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(part * total + done, parts * total)


def _groups(arrays: Mapping[str, Array]) -> tuple[list[Array], list[Array]]:
    """The arrays of the observations, and all others."""
    observed = [array for array in arrays.values() if array.group == "observations"]
    return observed, [array for array in arrays.values() if array.group != "observations"]


def _by_name(arrays: Sequence[Array], digests: NDArray[np.uint8]) -> BlockDigests:
    return {array.name: digests[:, position] for position, array in enumerate(arrays)}


def _generated_digests(
    spec: ReleaseSpec, backend: Backend, threads: int | None, progress: Progress | None
) -> BlockDigests:
    kernels = backend.kernels(spec)
    arrays, values = contents(Outline.generated(spec, kernels))
    observed, others = _groups(arrays)

    def rows(start: int, stop: int) -> Iterable[NDArray[Any]]:
        computed = backend.observations(spec, kernels, start, stop).columns()
        return (array.rows(computed[array.field]) for array in observed)

    digests = hash_blocks(observed, rows, Work(threads=threads, progress=progress))
    return _by_name(observed, digests) | {
        array.name: identity.hash_blocks(array, values[array.name]) for array in others
    }


def _compare(release: Release, stored: BlockDigests, generated: BlockDigests) -> None:
    if stored.keys() != generated.keys():
        odd = min(stored.keys() ^ generated.keys())
        raise InvalidDataError(f"'{release.path}' does not agree with its spec: {odd} is only in one of them.")
    for name, array in release.arrays.items():
        if len(stored[name]) != len(generated[name]):
            raise InvalidDataError(f"'{release.path}' does not agree with its spec: {name} has another length.")
        differing = np.flatnonzero((stored[name] != generated[name]).any(axis=1))
        if differing.size:
            start, stop = identity.block_rows(array, int(differing[0]))
            raise InvalidDataError(
                f"'{release.path}' does not agree with its spec: {name} differs, first in rows {start} to {stop - 1}."
            )
