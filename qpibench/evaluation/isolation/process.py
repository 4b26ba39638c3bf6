"""Environment, lifetime and exit codes of worker processes, which end when the process that started them ends."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from qpibench.errors import UnavailableError
from qpibench.locator import PACKAGE

_PR_SET_PDEATHSIG = 1

MARK = "QPIBENCH_MODEL"
"""Environment variable that a model's process has, and all processes that it starts."""

_ROUNDS = 10

_GUARD = """
trap "" TERM INT HUP
read -r group && read -r _
[ -z "$group" ] || kill -s KILL -- "-$group"
[ -z "$2" ] || for file in $(grep -alF -- "$2" /proc/[0-9]*/environ); do
    file=${file#/proc/}
    kill -s KILL "${file%/environ}"
done
[ -z "$1" ] || for _ in 1 2 3 4 5; do
    chmod -R u+rwX -- "$1"
    rm -rf -- "$1" && break
    sleep 1
done
"""

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def with_package(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which a new process can import the package from any folder.

    Hashes and the encoding of texts are the same in every such process.
    """
    made = {**environment, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    if str(PACKAGE.parent) not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        made["PYTHONPATH"] = os.pathsep.join(filter(None, [made.get("PYTHONPATH"), str(PACKAGE.parent)]))
    return made


def fixed_threads(threads: int) -> dict[str, str]:
    """Environment variables that fix the number of threads of numerical libraries."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"OMP_DYNAMIC": "FALSE", "MKL_DYNAMIC": "FALSE"}


def require_processes(what: str) -> None:
    """Refuse a system on which a model's processes cannot be ended, or their memory not be limited.

    Process groups end a model together with all processes that it started; ``/proc`` shows their memory on Linux.

    Parameters
    ----------
    what
        Plural noun for the message, such as ``"Models"``.

    Raises
    ------
    UnavailableError
        If this is Windows, or Linux without ``/proc``.
    """
    if not hasattr(os, "killpg"):
        raise UnavailableError(f"{what} run on Linux and macOS; on Windows, use qpibench within WSL 2.")
    if sys.platform == "linux" and not os.path.isdir("/proc/self"):
        raise UnavailableError(f"{what} need the file system /proc, which shows how much memory they take; mount it.")


def die_with(parent: int) -> None:
    """Make the system kill this process when its parent ends, on Linux only; see :func:`guard`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the request
        os._exit(1)


class GuardedFolder(NamedTuple):
    """A temporary folder and the function that lets its guard kill a group of processes, too."""

    path: Path
    add_group: Callable[[int], None]


@contextmanager
def guarded_folder(mark: str | None = None) -> Iterator[GuardedFolder]:
    """Make a folder that is removed at the end of the context, or when this process ends in any way before.

    It has a :func:`guard`, which waits before the folder is made, so there is no moment in which it would be left.
    """
    path = Path(tempfile.gettempdir(), f"qpibench-{secrets.token_hex(8)}")
    with guard(path, mark) as add_group:
        path.mkdir(mode=0o700)
        try:
            yield GuardedFolder(path, add_group)
        finally:
            _remove(path)


def _remove(folder: Path) -> None:
    """Remove a folder, also with folders in it that its owner may not write to."""
    for parent, names, _ in os.walk(folder):
        for path in (os.path.join(parent, name) for name in names):
            if not os.path.islink(path):
                with suppress(OSError):
                    os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def guard(folder: Path | None = None, mark: str | None = None) -> Iterator[Callable[[int], None]]:
    """Kill processes and remove their folder when this process ends in any way, even if it is killed.

    The processes are those of the group that is told to the function which the context returns, once at most, and, on
    Linux, those with a mark, see :func:`kill_marked`.

    The guard is a shell that waits for the end of its input. The system closes that input when this process ends, and
    the model's code has no access to the shell.
    """
    # A batch system may send SIGTERM to every process of a job; the shell ignores it and waits for this process.
    command = ["/bin/sh", "-c", _GUARD, "sh", str(folder or ""), "" if mark is None else f"{MARK}={mark}"]
    nowhere = subprocess.DEVNULL
    shell = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, cwd="/", env={}, start_new_session=True
    )

    def add_group(pid: int) -> None:
        assert shell.stdin is not None
        with suppress(BrokenPipeError):
            shell.stdin.write(f"{pid}\n".encode())
            shell.stdin.flush()

    try:
        yield add_group
    finally:
        shell.kill()
        shell.communicate()


def kill_marked(mark: str) -> None:
    """Kill all processes whose variable :data:`MARK` has a value, also those that have left their process group."""
    import psutil  # which the model's process does not import

    found = [0]
    for _ in range(_ROUNDS):  # one that is being killed may start another
        if not found:
            return
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == mark:
                    process.kill()
                    found.append(process.pid)


def way_of_death(code: int | None) -> tuple[str, str]:
    """Translate the exit code of a process to a kind of :class:`ModelFailure` and a clause."""
    if code is None:
        return "protocol", "closed its connection"
    if code >= 0:
        return "exited", f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return "died", f"was killed by signal {name}"
