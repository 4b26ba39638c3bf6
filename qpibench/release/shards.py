r"""Shards: a release in N files, made by N runs that need not know of each other.

Shard I of N (I from 1 to N) is a pure function of the spec, I and N. It holds the observations of a run of whole
blocks of 256 rows (:mod:`qpibench.release.identity`): of B blocks, numbered from 0, those from (I-1) B / N to I B / N,
both rounded down. Where N is larger than B some shards hold no observation; they are files like all others, so that a
job array need not know how large the release is. The file is named ``shard-I-of-N.h5``, I with as many digits as N::

    /observations/image, kernel, n_scatterers, position_nm   its rows of all that a release has here
    /block_digests (block, array, digest)                    uint8, 32 bytes of each of its blocks and of these arrays

Block digests are those of the release, so that they give its content hash when all shards are there. The root carries
`shard_version`, `shard` (I), `shards` (N), `name`, `spec` (JSON), `package_version` and at last `shard_sha256`: the
SHA-256 of the lines ``qpibench shard VERSION\n``, the canonical JSON of the spec and ``\n``, ``I/N\n``, followed by the
block digests. Without `format_version` and `content_sha256` a shard is no release.

The manifest of a release in shards is what the shards say of themselves; :class:`Shards` has checked it.
"""

from __future__ import annotations

import hashlib
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.release import identity, layout
from qpibench.release.hdf5 import structure
from qpibench.release.layout import Array
from qpibench.specs import ReleaseSpec, spec_from_json

SHARD_VERSION = layout.FORMAT_VERSION
"""The newest version that is read and written: that of the format of the release."""


@dataclass(frozen=True, order=True)
class Shard:
    """Shard `index` of `count`, counted from 1.

    Raises
    ------
    UsageError
        If there is no such shard.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count < 2**31:
            raise UsageError(f"There is no shard {self}; I/N with I from 1 to N is expected, such as 2/8.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``I/N``."""
        found = re.fullmatch(r"([0-9]{1,10})/([0-9]{1,10})", text)
        if not found:
            raise UsageError(f"'{text}' is no shard; I/N with I from 1 to N is expected, such as 2/8.")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return f"shard-{self.index:0{len(str(self.count))}}-of-{self.count}.h5"

    def blocks(self, spec: ReleaseSpec) -> range:
        """The blocks of the release that it holds."""
        count = -(-spec.observation_count // identity.BLOCK_ROWS)
        return range((self.index - 1) * count // self.count, self.index * count // self.count)

    def rows(self, spec: ReleaseSpec) -> tuple[int, int]:
        """The first observation that it holds, and the one behind the last."""
        blocks = self.blocks(spec)
        return blocks.start * identity.BLOCK_ROWS, min(blocks.stop * identity.BLOCK_ROWS, spec.observation_count)

    def title(self, spec: ReleaseSpec) -> str:
        """First line of its journal."""
        return f"qpibench shard {self} of format {layout.format_version(spec)}, spec {spec.canonical_json()}"

    def attributes(self, spec: ReleaseSpec) -> dict[str, str | int]:
        """Attributes of its file, except for the digest."""
        version = layout.format_version(spec)
        return {"shard_version": version, "shard": self.index, "shards": self.count, **layout.origin(spec)}

    def arrays(self, spec: ReleaseSpec) -> dict[str, Array]:
        """The arrays in its file, by name."""
        start, stop = self.rows(spec)
        observed = layout.observation_arrays(spec)
        arrays = {name: replace(array, shape=(stop - start, *array.shape[1:])) for name, array in observed.items()}
        arrays["block_digests"] = Array(
            name="block_digests",
            dtype="|u1",
            dims=("block", "array", "digest"),
            shape=(len(self.blocks(spec)), len(observed), 32),
            units="1",
            long_name="SHA-256 of every block of the observations, by array",
        )
        return arrays

    def in_release(self, spec: ReleaseSpec, located: dict[str, Array]) -> dict[str, Array]:
        """The observations of the release, placed so that the rows which this shard holds lie where they are.

        Parameters
        ----------
        spec
            The release's spec.
        located
            The arrays of the shard's file.
        """
        start, _ = self.rows(spec)
        return {
            name: replace(array, offset=located[name].position(-start))
            for name, array in layout.observation_arrays(spec).items()
        }

    def digest(self, spec: ReleaseSpec, block_digests: NDArray[np.uint8]) -> str:
        """Digest of the shard, hexadecimal, from those of its blocks, (block, array, 32) uint8."""
        text = f"qpibench shard {layout.format_version(spec)}\n{spec.canonical_json()}\n{self}\n"
        return hashlib.sha256(text.encode() + block_digests.tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """A complete shard.

    Attributes
    ----------
    path
        Its file.
    shard, spec
        Which shard, and of which release.
    arrays
        The arrays of the release's observations by name, with the places of this shard's rows in the file.
    block_digests
        (block, array, 32) uint8, as the file states them.
    sha256
        The shard's digest.
    nbytes
        Size of the file.
    """

    path: Path
    shard: Shard
    spec: ReleaseSpec
    arrays: dict[str, Array]
    block_digests: NDArray[np.uint8]
    sha256: str
    nbytes: int

    @property
    def remedy(self) -> str:
        """How to make the file anew."""
        return f"generate it again with --shard {self.shard} --overwrite"

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows of the release that are in this shard."""
        try:
            fd = os.open(self.path, os.O_RDONLY)
            try:
                return layout.read_rows(fd, self.arrays[name], start, stop)
            finally:
                os.close(fd)
        except (OSError, InvalidDataError) as error:
            raise InvalidDataError(f"Shard '{self.path}' cannot be read ({error}); {self.remedy}.") from None


def open_shard(path: Path) -> ShardFile:
    """Look at a shard; its layout and its block digests are checked, its rows are not.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If it is not a shard, not complete, of a newer format, or damaged.
    """
    try:
        with structure(path) as file:
            attributes = layout.attributes(file)
            shard = _identified(path, attributes)
            spec = spec_from_json(str(attributes["spec"]))
            if not isinstance(spec, ReleaseSpec):
                raise ValueError("its spec is not one that can be generated")
            located = layout.place(file, shard.arrays(spec))
            block_digests = np.asarray(file["block_digests"][...])
    except InvalidDataError as error:
        raise InvalidDataError(f"{error} A damaged shard is generated again with --overwrite.") from None
    found = ShardFile(
        path=path,
        shard=shard,
        spec=spec,
        arrays=shard.in_release(spec, located),
        block_digests=block_digests,
        sha256=str(attributes["shard_sha256"]),
        nbytes=os.path.getsize(path),
    )
    end = max((array.offset + array.nbytes for array in located.values() if array.offset is not None), default=0)
    if found.nbytes < end:
        raise InvalidDataError(f"'{path}' is truncated: it has {found.nbytes:,} of {end:,} bytes; {found.remedy}.")
    if shard.digest(spec, block_digests) != found.sha256:
        raise InvalidDataError(
            f"'{path}' is damaged: its digests are not those that it was written with; {found.remedy}."
        )
    return found


def _identified(path: Path, attributes: dict[str, str | int]) -> Shard:
    version = attributes.get("shard_version")
    if not isinstance(version, int):
        raise InvalidDataError(f"'{path}' is not a shard of a release; move it away.")
    if version > SHARD_VERSION:
        raise InvalidDataError(
            f"'{path}' is a shard of format {version}, and this qpibench reads {SHARD_VERSION}; upgrade qpibench."
        )
    if "shard_sha256" not in attributes:
        raise InvalidDataError(f"'{path}' is an interrupted shard without shard_sha256.")
    try:
        return Shard(int(attributes["shard"]), int(attributes["shards"]))
    except UsageError as error:
        raise ValueError(str(error)) from None


@dataclass(frozen=True)
class Shards:
    """All shards of one release, in order.

    Raises
    ------
    InvalidDataError
        If they are of different specs or numbers, or one is missing or there twice.
    """

    files: tuple[ShardFile, ...]

    @classmethod
    def checked(cls, found: Sequence[ShardFile], folder: Path) -> Self:
        """Put shards that were found in a folder in order, and check that they are one release.

        What most of them are of is taken for what all should be of.
        """
        if not found:
            raise InvalidDataError(
                f"There is no shard in folder '{folder}'; generate them with --shard I/N -o '{folder}'."
            )
        (spec_sha256, count), _ = Counter((file.spec.sha256, file.shard.count) for file in found).most_common(1)[0]
        spec = next(file.spec for file in found if file.spec.sha256 == spec_sha256)
        by_index: dict[int, ShardFile] = {}
        for file in found:
            if file.spec != spec:
                raise InvalidDataError(
                    f"'{file.path}' is a shard of another spec ('{file.spec.name}', {file.spec.sha256[:12]}) than the"
                    f" others ('{spec.name}', {spec.sha256[:12]}); move it away."
                )
            if file.shard.count != count:
                raise InvalidDataError(
                    f"'{file.path}' is shard {file.shard}, and the others are shards of {count}; move it away."
                )
            other = by_index.setdefault(file.shard.index, file)
            if other is not file:
                raise InvalidDataError(
                    f"'{other.path}' and '{file.path}' are both shard {file.shard}; move one of them away."
                )
        missing = [Shard(index, count) for index in range(1, count + 1) if index not in by_index]
        if missing:
            raise InvalidDataError(_missing(missing, folder))
        return cls(tuple(by_index[index] for index in sorted(by_index)))

    @property
    def spec(self) -> ReleaseSpec:
        """The spec of the release."""
        return self.files[0].spec

    @cached_property
    def _last_blocks(self) -> list[int]:
        return [file.shard.blocks(self.spec).stop for file in self.files]

    def holding(self, block: int) -> ShardFile:
        """The shard that holds a block."""
        return self.files[bisect_right(self._last_blocks, block)]

    def check_block(self, block: int, digests: NDArray[np.uint8]) -> None:
        """Compare digests of a block, (array, 32) uint8, with those that its shard states.

        Raises
        ------
        InvalidDataError
            If one is different.
        """
        file = self.holding(block)
        stated = file.block_digests[block - file.shard.blocks(self.spec).start]
        differing = np.flatnonzero((digests != stated).any(axis=1))
        if differing.size:
            array = list(file.arrays.values())[differing[0]]
            start, stop = identity.block_rows(array, block)
            raise InvalidDataError(
                f"Shard '{file.path}' is damaged: {array.name} has changed in rows {start} to {stop - 1};"
                f" {file.remedy}."
            )


def _missing(missing: Sequence[Shard], folder: Path) -> str:
    first = missing[0]
    begun = (folder / f".{first.file_name}.journal").exists()
    what = f"Shard {first} is" if len(missing) == 1 else f"{len(missing)} shards, the first of them {first}, are"
    how = f"--shard {first} -o '{folder}'" + (" --resume, which it was begun with" if begun else "")
    return f"{what} missing in folder '{folder}' ('{first.file_name}'); generate with {how}."
