"""The temporary file of a release that is being written, and the journal from which an interrupted run resumes."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from qpibench.errors import QpibenchError, UsageError
from qpibench.files import check_file, put_in_place, sync_folder
from qpibench.release.direct import DirectWriter
from qpibench.release.layout import Array, raw
from qpibench.release.lock import BusyError, FileLock


class Partial:
    """A locked temporary file ``.NAME.partial`` beside the target, with its journal ``.NAME.journal``.

    If the target is a symbolic link, they are beside the file to which it points, and that file is written.

    The lock also protects the compressed copy ``.NAME.compressed.partial``, if one is written.

    The journal is text: one line that identifies the release, then one line ``BLOCK HEXDIGESTS`` for every block that
    is complete in the file. A line that a crash cut off is ignored.

    Parameters
    ----------
    target
        The file to write.
    overwrite
        Allow to replace an existing target. Without it, a target that appears while this file is written stays.

    Raises
    ------
    UsageError
        As :func:`qpibench.files.check_file`, or if the folder cannot be written to.
    BusyError
        If another process is writing the same target.
    """

    def __init__(self, target: Path, *, overwrite: bool) -> None:
        self.target = target
        self._if_exists = None if overwrite else "overwrite it or choose another file"
        self.place = place = check_file(target)
        self.path = place.with_name(f".{place.name}.partial")
        self.compressed_path = place.with_name(f".{place.name}.compressed.partial")
        self.journal_path = place.with_name(f".{place.name}.journal")
        for path in (self.path, self.compressed_path, self.journal_path):
            _require_own(path)
        try:
            self._lock = FileLock(self.path)
        except BusyError as busy:
            raise type(busy)(
                f"Another process is writing '{target}' ({busy}); wait for it or choose another file."
            ) from None
        except OSError as error:
            raise UsageError(f"Folder '{place.parent}' cannot be written to: {error.strerror}.") from None
        self.fd = self._lock.fd
        self._writer = DirectWriter(self.path, self.fd)
        self._journal: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._journal is not None:
            os.close(self._journal)
        self._writer.close()
        if os.fstat(self.fd).st_size == 0:
            self.discard()
        self._lock.close()

    def journaled(self) -> tuple[str, dict[int, bytes]]:
        """Read the journal of an interrupted run: its title (empty if there is none), and the digests of its blocks."""
        try:
            title, *lines = self.journal_path.read_bytes().split(b"\n")[:-1]
        except (OSError, ValueError):
            return "", {}
        blocks = {}
        for line in lines:
            block, _, digests = line.partition(b" ")
            with suppress(ValueError):
                blocks[int(block)] = bytes.fromhex(digests.decode())
        return title.decode(errors="replace"), blocks

    def open_journal(self, title: str, *, append: bool) -> None:
        """Start a new journal or continue that of an interrupted run; the layout of the file must be complete."""
        os.fsync(self.fd)
        self._journal = os.open(self.journal_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        if append:
            os.write(self._journal, b"\n")  # ends a line that a crash cut off
        else:
            os.truncate(self._journal, 0)
            os.write(self._journal, f"{title}\n".encode())

    def write_rows(self, array: Array, start: int, rows: NDArray[Any]) -> None:
        """Write rows of an array, in the stored dtype, at their offset in the file. Several threads may call this."""
        self._writer.write(array.position(start), raw(rows))

    def record(self, block: int, digests: bytes) -> None:
        """Write to the journal that a block is complete."""
        assert self._journal is not None
        os.write(self._journal, f"{block} {digests.hex()}\n".encode())

    @contextmanager
    def claim(self, path: Path, needed: int) -> Iterator[None]:
        """Reserve disk space for a file while HDF5 creates its layout, because HDF5 crashes on a full disk.

        Parameters
        ----------
        path
            The file.
        needed
            Bytes to reserve. HDF5 cuts off the bytes that it did not use when it closes the file.

        Raises
        ------
        QpibenchError
            If the disk does not have so much free space; the file is then removed.
        """
        try:
            _allocate(path, needed)
            yield
            _allocate(path, needed)
        except OSError as error:
            path.unlink(missing_ok=True)
            if "unable to lock" in str(error):  # HDF5 takes locks here only where this variable asks for them
                raise QpibenchError(
                    f"'{self.target}' cannot be written: the variable HDF5_USE_FILE_LOCKING makes HDF5 lock the file,"
                    " which qpibench has locked itself, or whose file system has no locks; unset the variable."
                ) from None
            free = shutil.disk_usage(path.parent).free
            raise QpibenchError(
                f"'{self.target}' does not fit: it needs {needed:,} bytes and {free:,} are available"
                f" ({error.strerror or error})."
            ) from None

    def discard(self) -> None:
        """Remove every temporary file."""
        for path in (self.journal_path, self.compressed_path, self.path):
            path.unlink(missing_ok=True)

    def commit(self, finished: Path) -> None:
        """Rename a finished file (this one or its copy) durably to the target, and remove other temporary files."""
        _sync(finished)
        check_file(self.place, if_exists=self._if_exists)
        put_in_place(finished, self.place)
        for path in {self.journal_path, self.compressed_path, self.path} - {finished}:
            path.unlink(missing_ok=True)
        self._lock.release()  # from here on, readers can open the target; syncing the folder may take long
        sync_folder(self.place.parent)


def _allocate(path: Path, size: int) -> None:
    # Where space cannot be reserved (some file systems, macOS) a full disk is noticed only while writing.
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        os.posix_fallocate(fd, 0, size)
    except AttributeError:
        pass
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)


def _sync(path: Path) -> None:
    """Wait until the contents of a file are safely on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _require_own(path: Path) -> None:
    """Refuse a temporary name at which something else than a file of an earlier run is; it would be overwritten."""
    if os.path.lexists(path) and (os.path.islink(path) or not os.path.isfile(path)):
        raise UsageError(f"'{path}' is not a file of an interrupted run; remove it or choose another file to write.")
