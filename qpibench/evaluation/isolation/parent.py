"""Protects the process that starts a model from the model; on Linux only.

Otherwise the worker, a process of the same user, could open the release and the predictions through ``/proc/PID/fd``.
With the protection it can read only the name and the counters of this process below ``/proc``.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_FIRST_FIELD, _ARG_START, _ARG_END = 3, 48, 49  # fields of /proc/PID/stat, see proc(5)

_REDUNDANT = re.compile(r"(?<![\w.-])(?:\./+)+|(?<=/)/+")  # "./" and repeated slashes, which Path leaves out

_lock = threading.Lock()
_users = 0
_dumpable = 1
_arguments = b""


@contextmanager
def closed_parent(hidden: Iterable[Path]) -> Iterator[None]:
    """Make this process inaccessible to other processes of its user within the block; on Linux only.

    Only a process with the capability CAP_SYS_PTRACE can open this process's descriptors, memory, environment or
    working folder, attach to it, or copy its descriptors. The command line of any process is readable by every user, so
    arguments that name a hidden path are overwritten with asterisks. Blocks may be nested and used by several threads;
    the end of the last one restores the previous state.

    Parameters
    ----------
    hidden
        Paths that the command line must not show.
    """
    if sys.platform != "linux":
        yield
        return
    _close(tuple(hidden))
    try:
        yield
    finally:
        _open()


def names(text: str, hidden: Iterable[Path]) -> bool:
    """Return whether a text contains one of these paths, relative or absolute."""
    text = _REDUNDANT.sub("", text)
    spelled = {spelling for path in hidden for spelling in (str(path), str(path.absolute()), str(path.resolve()))}
    return any(_mentions(text, path) for path in spelled)


def _mentions(text: str, path: str) -> bool:
    # A relative path must be a whole word of the text: a release named "bin" must not hide PATH.
    boundary = r"[^\w.-]" if os.path.isabs(path) else r"[^\w./-]"
    return re.search(rf"(^|{boundary}){re.escape(path)}($|{boundary})", text) is not None


def _close(hidden: tuple[Path, ...]) -> None:
    global _users, _dumpable, _arguments
    with _lock:
        if not _users:
            _dumpable = max(0, ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0))
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
            _arguments = _read_arguments()
        _users += 1
        _write_arguments(
            b"\0".join(
                b"*" * len(argument) if place and names(os.fsdecode(argument), hidden) else argument
                for place, argument in enumerate(_read_arguments().split(b"\0"))
            )
        )


def _open() -> None:
    global _users
    with _lock:
        _users -= 1
        if not _users:
            _write_arguments(_arguments)
            # A process that was not dumpable before, such as after a change of user, stays so.
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1 if _dumpable == 1 else 0, 0, 0, 0)


def _read_arguments() -> bytes:
    """Return the memory that the system shows as this process's command line; empty if its address is uncertain."""
    place = _place_of_arguments()
    if place is None:
        return b""
    found = ctypes.string_at(*place)
    return found if found == Path("/proc/self/cmdline").read_bytes() else b""


def _write_arguments(arguments: bytes) -> None:
    place = _place_of_arguments()
    if place is not None and len(arguments) == place[1]:
        ctypes.memmove(place[0], arguments, len(arguments))


def _place_of_arguments() -> tuple[int, int] | None:
    """Return the address and the length of the command line in memory."""
    try:
        # The second field, the name of the process, may contain spaces and parentheses.
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        start, end = (int(fields[field - _FIRST_FIELD]) for field in (_ARG_START, _ARG_END))
    except (OSError, ValueError, IndexError):
        return None
    return (start, end - start) if 0 < start < end else None
