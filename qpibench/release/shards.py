r"""Shards: N files that together contain the observations of one release, made by N independent runs.

Shard I of N (I from 1 to N) is a pure function of the spec, I and N. A release has B blocks of 256 observations
(:mod:`qpibench.release.identity`), numbered from 0. Shard I contains the blocks from (I-1) B / N (included) to I B / N
(excluded), both rounded down. If N is larger than B, some shards contain no observation; they are written all the same,
so that a job array does not have to know the size of the release. The file is named ``shard-I-of-N.h5``; I has as many
digits as N::

    /observations/image, kernel, n_scatterers, position_nm   rows of all arrays of the observations
    /block_digests (block, array, digest)                    uint8, the 32 bytes of the SHA-256 of each block

The block digests are those of the release, so the content hash of the release follows from the digests of all shards.
The root group has the attributes `shard_version`, `shard` (I), `shards` (N), `name`, `spec` (JSON), `package_version`
and, written last, `shard_sha256`: the SHA-256 of the lines ``qpibench shard VERSION\n``, the canonical JSON of the spec
and ``\n``, ``I/N\n``, followed by the block digests. A shard has no `format_version` and no `content_sha256`, so it is
not taken for a release.

There is no separate manifest: :class:`Shards` reads the attributes of all shards and checks that they fit together.
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
from qpibench.release import datasets, identity, layout
from qpibench.release.hdf5 import structure
from qpibench.release.layout import Array
from qpibench.release.positional import BINARY
from qpibench.release.remote import Place
from qpibench.specs import ReleaseSpec, spec_from_json

SHARD_VERSION = layout.FORMAT_VERSION
"""The newest version of a shard that can be read and written; it equals the format version of its release."""


@dataclass(frozen=True, order=True)
class Shard:
    """Shard `index` of `count`, counted from 1.

    Raises
    ------
    UsageError
        If the index is not from 1 to the count.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count < 2**31:
            raise UsageError(f"There is no shard {self}; expected I/N with I from 1 to N, such as 2/8.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text ``I/N``."""
        found = re.fullmatch(r"([0-9]{1,10})/([0-9]{1,10})", text)
        if not found:
            raise UsageError(f"'{text}' is not a shard; expected I/N with I from 1 to N, such as 2/8.")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def file_name(self) -> str:
        """Name of the shard's file."""
        return f"shard-{self.index:0{len(str(self.count))}}-of-{self.count}.h5"

    def blocks(self, spec: ReleaseSpec) -> range:
        """Numbers of the blocks of the release that this shard contains."""
        count = -(-spec.observation_count // identity.BLOCK_ROWS)
        return range((self.index - 1) * count // self.count, self.index * count // self.count)

    def rows(self, spec: ReleaseSpec) -> tuple[int, int]:
        """First observation in this shard, and the one after the last."""
        blocks = self.blocks(spec)
        return blocks.start * identity.BLOCK_ROWS, min(blocks.stop * identity.BLOCK_ROWS, spec.observation_count)

    def title(self, spec: ReleaseSpec) -> str:
        """First line of the journal while this shard is written."""
        return f"qpibench shard {self} of format {layout.format_version(spec)}, spec {spec.canonical_json()}"

    def attributes(self, spec: ReleaseSpec) -> dict[str, str | int]:
        """Attributes of the root group of the file, except for the digest."""
        version = layout.format_version(spec)
        return {"shard_version": version, "shard": self.index, "shards": self.count, **layout.origin(spec)}

    def arrays(self, spec: ReleaseSpec) -> dict[str, Array]:
        """The arrays in the file of this shard, by name."""
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
        """Describe the arrays of the whole release with offsets that are right for the rows in this shard's file.

        Parameters
        ----------
        spec
            The release's spec.
        located
            The arrays in the file of this shard.
        """
        start, _ = self.rows(spec)
        return {
            name: replace(array, offset=located[name].position(-start))
            for name, array in layout.observation_arrays(spec).items()
        }

    def digest(self, spec: ReleaseSpec, block_digests: NDArray[np.uint8]) -> str:
        """Digest of the shard, hexadecimal, from the digests of its blocks, (block, array, 32) uint8."""
        text = f"qpibench shard {layout.format_version(spec)}\n{spec.canonical_json()}\n{self}\n"
        return hashlib.sha256(text.encode() + block_digests.tobytes()).hexdigest()


class DamagedShardError(InvalidDataError):
    """A shard is damaged, and can be generated again.

    Attributes
    ----------
    path
        The file.
    damage
        What is wrong, which is the message without what to do.
    """

    def __init__(self, path: Place, damage: str, remedy: str) -> None:
        super().__init__(f"{damage}; {remedy}.")
        self.path, self.damage = path, damage


class _ForeignError(InvalidDataError):
    """A file is no shard, or perhaps one of a newer qpibench."""


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """A complete shard on the disk.

    Attributes
    ----------
    path
        The file, or its URL.
    shard, spec
        Number of the shard, and spec of its release.
    arrays
        The arrays of the release's observations by name, with offsets that are right for the rows in this file.
    block_digests
        (block, array, 32) uint8, as stored in the file.
    sha256
        Digest of the shard.
    nbytes
        Size of the file in bytes.
    """

    path: Place
    shard: Shard
    spec: ReleaseSpec
    arrays: dict[str, Array]
    block_digests: NDArray[np.uint8]
    sha256: str
    nbytes: int

    @property
    def remedy(self) -> str:
        """Part of an error message: the options that generate this shard again."""
        return f"generate it again with --shard {self.shard} --overwrite"

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read rows of one array; `start` and `stop` count rows of the release, and must lie in this shard."""
        try:
            fd = os.open(self.path, os.O_RDONLY | BINARY)
            try:
                return layout.read_rows(fd, self.arrays[name], start, stop)
            finally:
                os.close(fd)
        except (OSError, InvalidDataError) as error:
            raise InvalidDataError(f"Shard '{self.path}' cannot be read ({error}); {self.remedy}.") from None


def open_shard(path: Place) -> ShardFile:
    """Open a shard and check its layout and its block digests, but not its observations.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If the file is not a shard or has a newer format; DamagedShardError if it is incomplete or damaged.
    """
    try:
        with structure(path) as file:
            nbytes = int(file.id.get_filesize())
            attributes = datasets.attributes(file)
            shard = _identified(path, attributes)
            spec = _spec(path, attributes)
            located = datasets.place(file, shard.arrays(spec))
            block_digests = np.asarray(file["block_digests"][...])
    except _ForeignError:
        raise
    except InvalidDataError as error:
        raise DamagedShardError(path, str(error).rstrip("."), "a shard is generated again with --overwrite") from None
    found = ShardFile(
        path=path,
        shard=shard,
        spec=spec,
        arrays=shard.in_release(spec, located),
        block_digests=block_digests,
        sha256=str(attributes["shard_sha256"]),
        nbytes=nbytes,
    )
    end = max((array.offset + array.nbytes for array in located.values() if array.offset is not None), default=0)
    if found.nbytes < end:
        raise DamagedShardError(path, f"'{path}' is truncated: it has {found.nbytes:,} of {end:,} bytes", found.remedy)
    if shard.digest(spec, block_digests) != found.sha256:
        raise DamagedShardError(
            path, f"'{path}' is damaged: its block digests do not agree with its shard_sha256", found.remedy
        )
    return found


def _spec(path: Place, attributes: dict[str, str | int]) -> ReleaseSpec:
    try:
        spec = spec_from_json(str(attributes["spec"]), subject=f"The spec in '{path}'")
    except InvalidDataError as error:  # perhaps a newer qpibench can read it
        raise _ForeignError(str(error)) from None
    if not isinstance(spec, ReleaseSpec):
        raise _ForeignError(f"'{path}' is not a shard of a release; move it away.")
    return spec


def _identified(path: Place, attributes: dict[str, str | int]) -> Shard:
    version = attributes.get("shard_version")
    if not isinstance(version, int):
        raise _ForeignError(f"'{path}' is not a shard of a release; move it away.")
    if version > SHARD_VERSION:
        raise _ForeignError(
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
        If the shards belong to different specs or different N, or one is missing or present twice.
    """

    files: tuple[ShardFile, ...]

    @classmethod
    def checked(cls, found: Sequence[ShardFile], folders: Sequence[Path]) -> Self:
        """Sort the shards that were found in folders, and check that they are one complete release.

        The spec and the number N of most shards count as right; a shard that differs is named in the error.
        """
        if not found:
            raise InvalidDataError(
                f"There is no shard in {_named(folders)}; generate them with --shard I/N -o '{folders[0]}'."
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
            raise InvalidDataError(_missing(missing, folders))
        return cls(tuple(by_index[index] for index in sorted(by_index)))

    @property
    def spec(self) -> ReleaseSpec:
        """The spec of the release."""
        return self.files[0].spec

    @cached_property
    def _last_blocks(self) -> list[int]:
        return [file.shard.blocks(self.spec).stop for file in self.files]

    def holding(self, block: int) -> ShardFile:
        """The shard that contains a block."""
        return self.files[bisect_right(self._last_blocks, block)]

    def check_block(self, block: int, digests: NDArray[np.uint8], names: Sequence[str] | None = None) -> None:
        """Compare digests of a block, (array, 32) uint8, with the digests stored in its shard.

        Parameters
        ----------
        block
            The block.
        digests
            Its digests.
        names
            The arrays that they are of; all of a shard, in their order, if None.

        Raises
        ------
        InvalidDataError
            If a digest differs.
        """
        file = self.holding(block)
        arrays = list(file.arrays)
        names = arrays if names is None else names
        places = [arrays.index(name) for name in names]
        stated = file.block_digests[block - file.shard.blocks(self.spec).start, places]
        differing = np.flatnonzero((digests != stated).any(axis=1))
        if differing.size:
            array = file.arrays[names[differing[0]]]
            start, stop = identity.block_rows(array, block)
            raise DamagedShardError(
                file.path,
                f"Shard '{file.path}' is damaged: {array.name} has changed in rows {start} to {stop - 1}",
                file.remedy,
            )


def _named(folders: Sequence[Path]) -> str:
    return f"folder{'s' * (len(folders) > 1)} " + ", ".join(f"'{folder}'" for folder in folders)


def _missing(missing: Sequence[Shard], folders: Sequence[Path]) -> str:
    first = missing[0]
    begun = next((folder for folder in folders if (folder / f".{first.file_name}.journal").exists()), None)
    what = f"Shard {first} is" if len(missing) == 1 else f"{len(missing)} shards, the first of them {first}, are"
    how = f"--shard {first} -o '{begun or folders[0]}'" + (
        " --resume, because a run of it was interrupted" if begun else ""
    )
    return f"{what} missing in {_named(folders)} ('{first.file_name}'); generate with {how}."
