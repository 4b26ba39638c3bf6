"""Reading and writing at a position of a file, which several threads and forked processes may do at once."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from pathlib import Path
from threading import Lock
from typing import Any

BINARY = getattr(os, "O_BINARY", 0)
"""Flag for ``os.open``; without it Windows changes bytes that look like line ends."""

_moving = Lock()


def read_at(fd: int, view: memoryview, position: int) -> int:
    """Read bytes into ``view``; return how many, 0 at the end of the file."""
    if hasattr(os, "preadv"):
        return os.preadv(fd, [view], position)
    with _moving:  # Windows
        os.lseek(fd, position, os.SEEK_SET)
        read = os.read(fd, len(view))
    view[: len(read)] = read
    return len(read)


def write_at(fd: int, values: memoryview, position: int) -> int:
    """Write bytes; return how many."""
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, values, position)
    with _moving:  # Windows
        os.lseek(fd, position, os.SEEK_SET)
        return os.write(fd, values)


class PositionalFile(io.RawIOBase, ABC):
    """A file for reading whose position is a number of this object, so that forked processes do not share it."""

    def __init__(self) -> None:
        self._position = 0

    @abstractmethod
    def _size(self) -> int:
        """Number of bytes of the file."""

    @abstractmethod
    def _read_at(self, view: memoryview, position: int) -> int:
        """Read bytes into ``view``; return how many, 0 at the end of the file."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size()}
        self._position = start[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (count := self._read_at(view[done:], self._position + done)):
            done += count
        self._position += done
        return done


class LocalFile(PositionalFile):
    """A file of this machine; other programs may lock it meanwhile."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._fd = os.open(path, os.O_RDONLY | BINARY)

    def _size(self) -> int:
        return os.fstat(self._fd).st_size

    def _read_at(self, view: memoryview, position: int) -> int:
        return read_at(self._fd, view, position)

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
