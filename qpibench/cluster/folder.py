"""The folder ``NAME.shards`` beside a release: its shards, until they are merged."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from qpibench.errors import InvalidDataError, UsageError
from qpibench.files import check_file, check_folder, make_folder
from qpibench.notices import warn
from qpibench.release.lock import BusyError, FileLock
from qpibench.release.shards import DamagedShardError, Shard, open_shard
from qpibench.specs import ReleaseSpec

_OURS = re.compile(r"shard-[0-9]+-of-([0-9]+)\.h5|\.shard-[0-9]+-of-([0-9]+)\.h5\..+")
_LOCK = ".lock"


def folder_of(target: Path) -> Path:
    """Path of the folder for the shards of a release; beside the file that a symbolic link points to, if it is one."""
    place = Path(os.path.abspath(check_file(target)))
    return place.with_name(f"{place.name}.shards")


class ShardFolder:
    """The shards of a release that is being generated; one process at a time may use it. A context manager.

    Parameters
    ----------
    target
        The release.

    Attributes
    ----------
    path
        The folder, absolute. It is created if it does not exist, and removed at the end if it is empty.
    token
        An empty file in the folder as long as the context lasts. Its name is new, so a worker that finds the file sees
        this folder, and not one of the same name on its own machine.

    Raises
    ------
    UsageError
        If there can be no such folder.
    BusyError
        If another process uses it.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self.path = folder_of(target)
        check_folder(self.path, with_parents=False)
        make_folder(self.path)
        self.token = self.path / f".{secrets.token_hex(8)}.token"

    def __enter__(self) -> Self:
        try:
            self._lock = FileLock(self.path / _LOCK)
        except BusyError as busy:
            raise type(busy)(
                f"Another process is writing '{self._target}' ({busy}); wait for it or choose another file."
            ) from None
        except OSError as error:
            raise UsageError(f"Folder '{self.path}' cannot be written to: {error.strerror}.") from None
        for left in self.path.glob(".*.token"):  # of a process that was killed; tasks of it that still run will stop
            left.unlink(missing_ok=True)
        self.token.touch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.token.unlink(missing_ok=True)
        (self.path / _LOCK).unlink(missing_ok=True)
        self._lock.close()
        with suppress(OSError):  # files of ours or of the user are in it
            self.path.rmdir()

    def count(self) -> int | None:
        """Into how many shards an earlier run divided the release; None if there is nothing of one.

        Raises
        ------
        InvalidDataError
            If there are shards of several numbers.
        """
        counts = {int(found[1] or found[2]) for _, found in self._files()}
        if len(counts) > 1:
            listed = " and ".join(map(str, sorted(counts)))
            raise InvalidDataError(
                f"Folder '{self.path}' has shards of releases in {listed} parts; leave one kind there, or begin again"
                " with --overwrite."
            )
        return counts.pop() if counts else None

    def missing(self, spec: ReleaseSpec, count: int) -> list[Shard]:
        """The shards that are not whole yet; one that is found damaged is removed, and the user is told.

        Raises
        ------
        InvalidDataError
            If a whole shard is of another spec, or what has its name is no shard.
        """
        missing = []
        for shard in (Shard(index, count) for index in range(1, count + 1)):
            path = self.path / shard.file_name
            if not path.exists():
                missing.append(shard)
                continue
            try:
                found = open_shard(path)
            except DamagedShardError as error:
                warn(f"{error.damage}; it is made again.")
                path.unlink()
                missing.append(shard)
                continue
            if found.spec != spec:
                raise InvalidDataError(
                    f"'{path}' is a shard of another spec ('{found.spec.name}'); choose another file, or begin again"
                    " with --overwrite."
                )
        return missing

    def nbytes(self) -> int:
        """Size in bytes of what an earlier run left: shards, whole or begun, and a release that it was merging."""
        merged = self.path.with_name(f".{self.path.name.removesuffix('.shards')}.partial")
        total = 0
        for path in [merged, *(path for path, _ in self._files())]:
            with suppress(FileNotFoundError):  # a task of that run may still rename its shard
                total += path.stat().st_size
        return total

    def clear(self) -> None:
        """Remove everything that an earlier run left."""
        for path, _ in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[Path, re.Match[str]]]:
        return [(path, found) for path in self.path.iterdir() if (found := _OURS.fullmatch(path.name))]
