"""Locks that keep two processes from writing the same file.

A lock is a ``flock`` of the operating system on the file that is written; it ends with the process. If the system
(Windows) or the file system (some set-ups of NFS and Lustre) has no such locks, a second file names the process that
writes. A killed process leaves that file behind, and the next process on the same machine takes it over.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from qpibench.errors import QpibenchError
from qpibench.notices import warn
from qpibench.parsing import parse_json
from qpibench.release.positional import BINARY

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


_CLOCK_S = 60.0
"""Largest difference in s between two readings of a process's start time; the system's clock may be set meanwhile."""


class BusyError(QpibenchError):
    """Another process holds the lock."""


class LockedError(BusyError):
    """Another process holds a lock of the operating system, which ends with that process."""


def locked_by_another(fd: int) -> bool:
    """Return whether a program holds an exclusive lock on an open file, as HDF5 does while it writes.

    The function returns False if the system or the file system has no locks.
    """
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        pass
    return False


class _Owner(NamedTuple):
    """The process that created a lock file.

    Attributes
    ----------
    host
        Name of its machine.
    pid
        Its process number.
    started
        Its start time, in s since 1970.
    """

    host: str
    pid: int
    started: float


class FileLock:
    """A file open for reading and writing, created if missing, that no other process writes while the lock is held.

    Parameters
    ----------
    path
        The file. Where the system has no locks, ``NAME.lock`` beside it is created.

    Raises
    ------
    BusyError
        If another process holds the lock.
    OSError
        If the file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._marker: Path | None = None
        while True:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o666)
            try:
                if not lock(self.fd):
                    self._marker = _mark(path)
                # The process that held the lock before may have renamed or removed the file in between.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(self.fd), os.stat(path)):
                        return
            except BaseException:
                self.close()
                raise
            self.close()

    def release(self) -> None:
        """Release the lock and leave the file open."""
        if self._marker is not None:
            self._marker.unlink(missing_ok=True)
            self._marker = None
            return
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release the lock and close the file."""
        self.release()
        os.close(self.fd)


def lock(fd: int) -> bool:
    """Lock an open file or folder until it is closed; return False where there are no locks.

    Raises
    ------
    LockedError
        If another process holds the lock.
    """
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows
        return False
    except BlockingIOError:
        raise LockedError("another process holds the lock") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _mark(path: Path) -> Path:
    """Create the lock file that names this process."""
    marker = path.with_name(f"{path.name}.lock")
    me = _Owner(_host(), os.getpid(), _started(os.getpid()))
    for _ in range(2):
        try:
            fd = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            _remove_stale(marker)
            continue
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(me._asdict(), file)
        warn(
            f"The file system of '{path.parent}' has no locks: '{marker.name}' keeps other processes from writing the"
            " same file, and must be removed by hand if a run on another machine was killed."
        )
        return marker
    raise BusyError("another process is about to write")


def _remove_stale(marker: Path) -> None:
    """Remove the lock file of a process of this machine that has ended.

    Raises
    ------
    BusyError
        If the process still runs, or its state is unknown.
    """
    owner = _owner(marker)
    if owner is None:
        return
    if owner.host == _host() and abs(_started(owner.pid) - owner.started) > _CLOCK_S:
        # Under its new name it is no lock file. If another process replaced it meanwhile, it gets its name back.
        aside = marker.with_suffix(f".{os.getpid()}")  # no longer than other temporary names
        with suppress(FileNotFoundError):
            marker.replace(aside)
            if _owner(aside) != owner:
                with suppress(FileExistsError):
                    os.link(aside, marker)
            aside.unlink(missing_ok=True)
        return
    raise BusyError(f"process {owner.pid} of machine '{owner.host}' holds the lock '{marker}'")


def _owner(marker: Path) -> _Owner | None:
    """Return the process that a lock file names; None if there is no lock file."""
    try:
        if not stat.S_ISREG(marker.lstat().st_mode):
            raise ValueError
        found = parse_json(marker.read_bytes(), "It")
        return _Owner(str(found["host"]), int(found["pid"]), float(found["started"]))
    except FileNotFoundError:
        return None
    # The file is being written, its process was killed while writing it, or it is no lock file.
    except (OSError, QpibenchError, ValueError, KeyError, TypeError):
        raise BusyError(f"'{marker}' cannot be read; remove it if no process writes") from None


def _host() -> str:
    """Return the name of the machine and, for containers that share a name, of the process namespace."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> float:
    """Return the start time of a process; 0 if there is no such process."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0
