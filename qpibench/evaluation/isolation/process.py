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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

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
for _ in 1 2 3 4 5; do
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
    """Make the system kill this process when its parent ends; on Linux only; see :func:`guarded_folder`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the request
        os._exit(1)


class GuardedFolder:
    """A temporary folder, see :func:`guarded_folder`."""

    def __init__(self, path: Path, guard: IO[bytes]) -> None:
        self.path = path
        self._guard = guard

    def add_group(self, pid: int) -> None:
        """Let the guard kill a group of processes, too; once at most."""
        with suppress(BrokenPipeError):
            self._guard.write(f"{pid}\n".encode())
            self._guard.flush()


@contextmanager
def guarded_folder(mark: str | None = None) -> Iterator[GuardedFolder]:
    """Make a folder that is removed at the end of the context, or when this process ends in any way before.

    In the second case the guard also kills the group of processes that it was told and, on Linux, the processes with a
    mark, see :func:`kill_marked`. It is a shell that waits for the end of its input. The system closes that input when
    this process ends, and the model's code has no access to the shell. It waits before the folder is made, so there is
    no moment in which the folder would be left.
    """
    path = Path(tempfile.gettempdir(), f"qpibench-{secrets.token_hex(8)}")
    # A batch system may send SIGTERM to every process of a job; the shell ignores it and waits for this process.
    command = ["/bin/sh", "-c", _GUARD, "sh", str(path), "" if mark is None else f"{MARK}={mark}"]
    nowhere = subprocess.DEVNULL
    shell = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, cwd="/", env={}, start_new_session=True
    )
    assert shell.stdin is not None
    try:
        path.mkdir(mode=0o700)
        try:
            yield GuardedFolder(path, shell.stdin)
        finally:
            shutil.rmtree(path, ignore_errors=True)
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
