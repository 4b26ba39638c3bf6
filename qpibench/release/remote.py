"""Reads files at URLs, such as ``https://...`` and ``s3://...``, through fsspec.

Only the bytes that are needed are requested, so the server must serve parts of files (HTTP: the header ``Range``).
Credentials, endpoints and all other settings are those of fsspec's own configuration. The functions keep no connection:
fsspec has one pool of connections for each process, so a URL can be pickled, and read by threads and forked processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from qpibench.errors import QpibenchError, UnavailableError, UsageError, reason
from qpibench.extras import REMOTE, missing_package, optional_module
from qpibench.release.positional import PositionalFile

ATTEMPTS = 3
"""How often a part of a file, or its size, is requested before its error is reported."""

BLOCK_BYTES = 1 << 16
"""Bytes of a block in which the structure of an HDF5 file is read."""

BLOCKS = 64
"""Greatest number of such blocks that are kept."""

_NOT_FOUND = 404

_BLOCK_CACHES = {"blockcache", "cached"}


class Url(str):
    """The address of a file that fsspec reads."""

    __slots__ = ()

    def beside(self, relative: str) -> Url:
        """The address of a file whose path, with forward slashes, is relative to the folder of this one."""
        address, mark, query = self.partition("?")
        folder, *parts = address.rpartition("/")[0], *relative.split("/")
        while parts[0] == "..":
            folder, parts = folder.rpartition("/")[0], parts[1:]
        if "http://" in address or "https://" in address:
            parts = [quote(part) for part in parts]
        return Url("/".join((folder, *parts)) + mark + query)


Place: TypeAlias = Path | Url
"""A file on this machine, or one at a URL."""


def as_place(path: str | Path) -> Place:
    """Return a text with ``://`` as a URL, and everything else as a path."""
    return Url(path) if isinstance(path, str) and "://" in path else Path(path)


def read_ranges(url: Url, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Read parts of a file, all of them at the same time.

    Parameters
    ----------
    url
        The file.
    ranges
        First byte of each part, and the byte after its last.

    Raises
    ------
    UsageError
        If there is no such file or protocol.
    UnavailableError
        If fsspec, or its package for this protocol, is not installed.
    QpibenchError
        If a part cannot be read, or the server sends another number of bytes.
    """
    system, path = _file_system(url)
    answers: dict[tuple[int, int], Any] = {}
    for _ in range(ATTEMPTS):
        left = [part for part in ranges if not _is_whole(answers.get(part), part)]
        if not left:
            break
        starts, stops = zip(*left, strict=True)
        answers |= zip(left, _answers(system, path, starts, stops), strict=True)
    for start, stop in ranges:
        answer = answers[start, stop]
        if not isinstance(answer, bytes):
            raise _explained(url, answer) from None
        if len(answer) != stop - start:
            raise QpibenchError(
                f"'{url}' cannot be read: {stop - start:,} bytes from byte {start:,} on were asked for, and"
                f" {len(answer):,} came; the connection ended, the file has changed, or its server does not serve parts"
                " of files."
            )
    return [answers[part] for part in ranges]


def _is_whole(answer: Any, part: tuple[int, int]) -> bool:
    return isinstance(answer, bytes) and len(answer) >= part[1] - part[0]


def _forget_thread() -> None:
    """Let fsspec start a thread of its own in a forked process; versions before 2025 wait for that of the parent."""
    if asyn := sys.modules.get("fsspec.asyn"):
        asyn.reset_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_thread)


def _answers(system: Any, path: str, starts: Sequence[int], stops: Sequence[int]) -> Iterable[Any]:
    """Request parts; return the bytes of each, or the error."""
    try:
        answers: Iterable[Any] = system.cat_ranges([path] * len(starts), list(starts), list(stops), on_error="return")
    except Exception as error:
        return [error] * len(starts)
    return answers


class RemoteFile(PositionalFile):
    """A file at a URL for reading the structure of an HDF5 file, in blocks of which some are kept.

    Raises
    ------
    UsageError
        If there is no such file or protocol, or its server does not serve parts of files.
    UnavailableError, QpibenchError
        As :func:`read_ranges`.
    """

    def __init__(self, url: Url) -> None:
        super().__init__()
        self._url = url
        self._bytes = _size(url)
        self._block = lru_cache(BLOCKS)(self._read_block)

    def _size(self) -> int:
        return self._bytes

    def _read_at(self, view: memoryview, position: int) -> int:
        stop = min(position + len(view), self._bytes)
        if stop <= position:
            return 0
        if stop - position > BLOCK_BYTES:
            content = read_ranges(self._url, [(position, stop)])[0]
        else:
            block = position // BLOCK_BYTES
            content = self._block(block)[position % BLOCK_BYTES :][: stop - position]
        view[: len(content)] = content
        return len(content)

    def _read_block(self, block: int) -> bytes:
        start = block * BLOCK_BYTES
        return read_ranges(self._url, [(start, min(start + BLOCK_BYTES, self._bytes))])[0]


def _size(url: Url) -> int:
    """Size of a file in bytes; asked for again if that fails, as a part of the file is."""
    if getattr(_file_system(url)[0], "local_file", False):
        # A cache would take what came of a file before its connection ended for the whole file.
        return _size_at_once(url)
    for _ in range(ATTEMPTS - 1):
        try:
            return _size_at_once(url)
        except (UsageError, UnavailableError):
            raise
        except QpibenchError:
            continue
    return _size_at_once(url)


def _size_at_once(url: Url) -> int:
    """Size of a file in bytes, after a check that its server serves the last of them alone."""
    system, path = _file_system(url)
    try:
        with system.open(path, "rb", cache_type="none") as file:
            size = _size_of(file)
    except Exception as error:
        raise _explained(url, error) from None
    if size is None:
        raise UsageError(
            f"The server of '{url}' does not serve parts of files (HTTP ranges); download the file and name the copy."
        )
    return size


def _size_of(file: Any) -> int | None:
    """Size of an open file of fsspec after its last byte was read; None if fsspec can only read it from its start."""
    try:
        size = int(file.seek(0, os.SEEK_END))
    except (TypeError, ValueError):  # a stream, as which fsspec reads an empty file too
        return None if file.read(1) else 0
    try:
        if size:
            file.seek(size - 1)
            file.read(1)
    except ValueError:
        return None
    return size


def _file_system(url: Url) -> tuple[Any, str]:
    """The file system of a URL and the path in it."""
    if _BLOCK_CACHES & {part.partition("://")[0] for part in url.split("::")}:
        # If its server sends whole files, fsspec puts their beginning into every block.
        raise UsageError(
            f"'{url}' names a cache of blocks, which may hold other bytes than the file; leave it out, or name"
            " simplecache, which copies the file."
        )
    core = optional_module("fsspec", f"Reading '{url}'").core
    try:
        system, path = core.url_to_fs(str(url))
    except ImportError as error:
        module = str(getattr(error.__cause__ or error.__context__ or error, "name", "")).partition(".")[0]
        if module in REMOTE:
            what = f"Reading '{url}'"
            raise UnavailableError(f"{missing_package(what, module)}.") from None
        raise UnavailableError(f"'{url}' cannot be read: {error}.") from None
    except Exception as error:
        raise UsageError(f"'{url}' is no address that fsspec can read: {error}.") from None
    return system, str(path)


def _explained(url: Url, error: BaseException) -> QpibenchError:
    """The error of the user for one of fsspec, which reports every failure of HTTP as a missing file."""
    cause = error.__cause__ or error
    has_failed = isinstance(cause, (TimeoutError, ConnectionError)) or (
        type(cause).__module__.startswith("aiohttp") and getattr(cause, "status", None) != _NOT_FOUND
    )
    if isinstance(error, FileNotFoundError) and not has_failed:
        doubt = ", or its server does not answer" if "cache::" in url else ""  # fsspec does not tell
        return UsageError(f"There is no file '{url}'{doubt}.")
    text = reason(cause if has_failed else error)
    if type(error).__name__ == "ClientPayloadError":  # aiohttp reports it as a status 400, which no server sent
        text = "the server's answer was cut off or is damaged"
    return QpibenchError(f"'{url}' cannot be read: {text}.")
