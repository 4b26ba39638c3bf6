"""Writes to a file without the page cache (O_DIRECT)."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from pathlib import Path

from qpibench.release.positional import write_at


class DirectWriter:
    """Writes to a file from several threads; whole pages bypass the page cache.

    Copying a release into the page cache takes about one second of processor time per gigabyte, time that generating
    images needs. Parts of pages, and all writes on a file system without O_DIRECT, go through the page cache. In both
    cases the data are safely on the disk only after an `fsync`.

    Parameters
    ----------
    path, fd
        The file, and an open descriptor of it for writes through the page cache.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self._fd = fd
        self._direct_fd = _open_direct(path)
        self._is_direct = self._direct_fd is not None
        self._local = threading.local()

    def write(self, position: int, values: memoryview) -> None:
        """Write bytes at a position of the file."""
        size = len(values)
        whole_pages = size > 0 and not (size % mmap.PAGESIZE or position % mmap.PAGESIZE)
        if self._is_direct and self._direct_fd is not None and whole_pages:
            pages = self._pages(size)
            pages[:size] = values
            try:
                return _write_all(self._direct_fd, position, pages[:size])
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: the file system demands another alignment
                    raise
                self._is_direct = False
        _write_all(self._fd, position, values)
        return None

    def close(self) -> None:
        """Close the descriptor that this writer opened."""
        if self._direct_fd is not None:
            os.close(self._direct_fd)

    def _pages(self, size: int) -> memoryview:
        """Page-aligned memory, which O_DIRECT demands; one buffer per thread, reused by later writes."""
        pages: memoryview | None = getattr(self._local, "pages", None)
        if pages is None or len(pages) < size:
            pages = self._local.pages = memoryview(mmap.mmap(-1, size))
        return pages


def _open_direct(path: Path) -> int | None:
    try:
        return os.open(path, os.O_WRONLY | os.O_DIRECT)
    except (AttributeError, OSError):
        return None


def _write_all(fd: int, position: int, values: memoryview) -> None:
    done = 0
    while done < len(values):
        done += write_at(fd, values[done:], position + done)
