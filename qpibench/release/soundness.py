"""Checks the arrays of a release against their stored digests, and their values for contradictions.

A release states the digest of every array, and `content_sha256` is made of these digests and the spec (see
:mod:`qpibench.release.identity`). To check an array that is used, it is therefore enough to hash this array, compare it
with its stated digest, and recompute `content_sha256` from the stated digests. An array is hashed whole: only shards
store the digests of single blocks.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError
from qpibench.release import identity, layout
from qpibench.release.blocks import Progress, Work, hash_blocks
from qpibench.release.layout import Array
from qpibench.release.positional import BINARY
from qpibench.release.remote import Url

if TYPE_CHECKING:
    from qpibench.release.reader import Release

BlockDigests = dict[str, NDArray[np.uint8]]
"""Digests of the blocks of each array, (block, 32) uint8, by the array's name."""


def read_digests(
    release: Release,
    names: Collection[str],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[BlockDigests, str | None]:
    """Read arrays of a release once, hash them and check their values.

    Parameters
    ----------
    release
        The release.
    names
        Names of arrays.
    threads
        Number of threads; as many as there are processors if None.
    progress
        Called with the number of observations that are done and their total.

    Returns
    -------
    digests : dict
        Digests of the blocks of these arrays.
    problem : str or None
        The first invalid value, as a clause; None if all values are valid.

    Raises
    ------
    InvalidDataError
        If an array cannot be read, or a block of a shard is not what the shard states.
    """
    chosen = [array for name, array in release.arrays.items() if name in names]
    observed = [array for array in chosen if array.group == "observations"]
    others = [array for array in chosen if array.group != "observations"]
    problems: list[tuple[int, str]] = []
    try:
        digests = {array.name: identity.hash_blocks(array, release.stored(array.name)) for array in others}
        problems += [(-1, problem) for problem in _problems_of_tables(release, names)]
        if observed:
            digests |= _hash_observations(release, observed, problems, Work(threads=threads, progress=progress))
    except OSError as error:
        raise InvalidDataError(f"'{release.path}' is damaged and cannot be read: {error}.") from None
    return digests, min(problems)[1] if problems else None


def check_arrays(release: Release, names: Collection[str]) -> None:
    """Check arrays against their stored digests, and their values for contradictions.

    Parameters
    ----------
    release
        The release.
    names
        Names of arrays.

    Raises
    ------
    InvalidDataError
        If an array does not match its digest, the stored digests do not give `content_sha256`, or a value is invalid:
        splits that overlap, or contain an observation twice or out of range; kernel numbers out of range; images or
        kernels that are not finite; positions whose number is not `n_scatterers`.
    """
    stated = _stated_digests(release)
    digests, problem = read_digests(release, names)
    if problem is not None:
        raise InvalidDataError(f"'{release.path}' is not valid: {problem}; make or copy the file again.")
    for name, blocks in digests.items():
        if identity.array_digest(release.arrays[name], blocks) != stated[name]:
            raise InvalidDataError(
                f"'{release.path}' is damaged: {name} is not what its SHA-256 says; make or copy the file again."
            )


def _stated_digests(release: Release) -> Mapping[str, str]:
    """Return the stored digests of all arrays, after comparing them with `content_sha256`."""
    stated = {name: array.sha256 for name, array in release.arrays.items()}
    if release.shards is not None:
        blocks = np.concatenate([file.block_digests for file in release.shards.files])
        for place, name in enumerate(layout.observation_arrays(release.shards.spec)):
            stated[name] = identity.array_digest(release.arrays[name], blocks[:, place])
    known = {name: digest for name, digest in stated.items() if digest is not None}
    if len(known) < len(stated):
        missing = next(name for name in stated if name not in known)
        raise InvalidDataError(f"'{release.path}' is damaged: the SHA-256 of {missing} is missing.")
    if identity.content_digest(release.spec.canonical_json(), known) != release.content_sha256:
        raise InvalidDataError(
            f"'{release.path}' is not what it says: its content hash is not that of its spec and of the SHA-256 of its"
            " arrays; make or copy the file again."
        )
    return known


def _hash_observations(
    release: Release, arrays: list[Array], problems: list[tuple[int, str]], work: Work
) -> BlockDigests:
    """Hash the blocks of the observations' arrays; invalid rows are appended to the problems."""
    plausibility = Plausibility(
        kernel_count=release.arrays["kernels/image"].shape[0],
        max_scatterers=release.max_scatterers,
        n_scatterers=release.read("observations/n_scatterers"),
    )
    remote = isinstance(release.path, Url)
    stored = {array.name: release.stored(array.name) for array in arrays if remote or array.offset is None}
    fd = None if remote else os.open(release.path, os.O_RDONLY | BINARY)

    def rows(start: int, stop: int) -> Iterator[NDArray[Any]]:
        for array in arrays:
            if fd is None or array.name in stored:
                values = np.ascontiguousarray(stored[array.name][start:stop])
            else:
                values = layout.read_rows(fd, array, start, stop, subject=f"'{release.path}'")
            problems.extend(plausibility.problems(array.field, start, values))
            yield values

    def check(block: int, digests: NDArray[np.uint8]) -> None:
        if release.shards is not None:
            release.shards.check_block(block, digests, [array.name for array in arrays])

    try:
        digests = hash_blocks(arrays, rows, Work(threads=work.threads, progress=work.progress, check=check))
    finally:
        if fd is not None:
            os.close(fd)
    return {array.name: digests[:, place] for place, array in enumerate(arrays)}


@dataclass(frozen=True, kw_only=True)
class Plausibility:
    """Finds rows of observations with invalid values.

    Attributes
    ----------
    kernel_count
        Number of kernels.
    max_scatterers
        Length of the scatterer dimension.
    n_scatterers
        (observation,) number of scatterers of every observation.
    """

    kernel_count: int
    max_scatterers: int
    n_scatterers: NDArray[np.int32]

    def problems(self, field: str, start: int, values: NDArray[Any]) -> Iterator[tuple[int, str]]:
        """Find the first invalid row in consecutive rows of a column: its number, and a clause.

        Parameters
        ----------
        field
            Name of the column.
        start
            Number of the first row.
        values
            The rows.
        """
        good, what = self._good(field, start, values)
        bad = np.flatnonzero(~good.reshape(len(values), -1).all(axis=1))
        if bad.size:
            row = start + int(bad[0])
            yield row, f"observations/{field} of observation {row} {what}"

    def _good(self, field: str, start: int, values: NDArray[Any]) -> tuple[NDArray[np.bool_], str]:
        match field:
            case "image":
                return np.isfinite(values), "has a pixel that is NaN or infinite"
            case "kernel":
                there = (values >= 0) & (values < self.kernel_count)
                return there, f"is not one of the kernels 0 to {self.kernel_count - 1}"
            case "n_scatterers":
                there = (values >= 0) & (values <= self.max_scatterers)
                return there, f"is not a number from 0 to {self.max_scatterers}"
            case "position_nm":
                count = self.n_scatterers[start : start + len(values), None]
                used = np.arange(values.shape[1]) < count
                good = np.where(used[..., None], np.isfinite(values), np.isnan(values))
                return good, "has not as many positions as n_scatterers says, then NaN"
            case "species":
                used = np.arange(values.shape[1]) < self.n_scatterers[start : start + len(values), None]
                return np.where(
                    used, (values == 0) | (values == 1), values == -1
                ), "is not 0 or 1 for scatterers, then -1"
            case "told_position_nm":
                used = np.isfinite(values).all(axis=2)
                good = used | np.isnan(values).all(axis=2)
                good[:, 1:] &= used[:, :-1] | ~used[:, 1:]
                return good, "has something else than positions, then NaN"
            case _:
                return np.ones(len(values), np.bool_), ""


def _problems_of_tables(release: Release, names: Collection[str]) -> Iterator[str]:
    """Yield the problems of kernels and splits, as clauses."""
    if "kernels/image" in names:
        image = release.stored("kernels/image")[...]
        good = np.isfinite(image).reshape(len(image), -1).all(axis=1)
        if not good.all():
            yield f"kernels/image has a pixel that is NaN or infinite in kernel {int(np.argmin(good))}"
    splits = {name: release.read(name) for name in release.arrays if name in names and name.startswith("splits/")}
    for name, rows in splits.items():
        wrong = rows[(rows < 0) | (rows >= release.observation_count)]
        if wrong.size:
            yield f"{name} holds observation {wrong[0]}, and there are 0 to {release.observation_count - 1}"
        held, times = np.unique(rows, return_counts=True)
        if (times > 1).any():
            yield f"{name} holds observation {held[times > 1][0]} twice"
    for one, other in combinations(splits, 2):
        if _exclude_each_other(one, other):
            common = np.intersect1d(splits[one], splits[other])
            if common.size:
                yield f"observation {common[0]} is in {one} and in {other}"


def _exclude_each_other(one: str, other: str) -> bool:
    """Return whether two splits must not overlap: two roles of a task, or any test role and any other role."""
    (_, task, role), (_, other_task, other_role) = one.split("/"), other.split("/")
    return role != other_role and (task == other_task or "test" in (role, other_role))
