"""Commands in processes of their own, which may be killed at any moment."""

from __future__ import annotations

import hashlib
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import psutil

import qpibench
from qpibench.synthesis import get_backend

PATIENCE_S = 60.0
"""Time within which processes and files of a command that ended must be gone."""

OF_TORCH = "torchinductor_"
"""Beginning of the names of folders that importing torch makes."""

MARK = "QPIBENCH_CAMPAIGN_CASE"
_IMPORTED = ("cli", "release", "evaluation", "leaderboard", "specs", "synthesis", "training")


def prepare_processes(folder: Path) -> None:
    """Import the modules of all commands, so that kills hit the work, and put temporary files in a folder."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    folder.mkdir()
    for module in pkgutil.walk_packages(qpibench.__path__, "qpibench."):
        if module.name.split(".")[1] in _IMPORTED:
            with suppress(ImportError):
                import_module(module.name)
    get_backend("cpu")


def empty(folder: Path) -> None:
    """Make a folder, or remove everything in it."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def contents(folder: Path) -> dict[Path, str]:
    """Return the SHA-256 of the files of a folder, and an empty text for its folders; not those of compiled modules."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


class Process:
    """A command in a process of its own, which begins with all modules imported.

    Parameters
    ----------
    words
        The arguments of the command.
    first
        Called in the new process before the command.
    """

    def __init__(self, words: Sequence[str], *, first: Callable[[], None] = lambda: None) -> None:
        self.code: int | None = None
        self._mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self.pid = os.fork()
        if self.pid == 0:
            self._become(words, first)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; return whether it has ended."""
        deadline = time.monotonic() + seconds
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif (left := deadline - time.monotonic()) <= 0:
                break
            else:
                time.sleep(min(0.002, left))
        return self.code is not None

    def kill(self) -> None:
        """Kill it, but not the processes that it started."""
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def left(self) -> str | None:
        """The processes and temporary files that it left behind, which get a while to go; None if there are none."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            alive = self._alive()
            files = [path for path in Path(tempfile.gettempdir()).iterdir() if not path.name.startswith(OF_TORCH)]
            if not alive and not files:
                return None
            if time.monotonic() > deadline:
                for process in alive:
                    process.kill()
                for path in files:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                return f"processes {alive} and files {files} are left"
            time.sleep(0.02)

    @property
    def printed(self) -> str:
        """Its standard error."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def memory_bytes(self) -> int:
        """The memory of it and of the processes that it started; of what processes share, each has its part."""
        total = 0
        for process in (psutil.Process(self.pid), *self._alive()):
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total

    def _alive(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get(MARK) == self._mark:
                    found.append(process)
        return found

    def _become(self, words: Sequence[str], first: Callable[[], None]) -> None:
        code = 1
        try:
            os.setsid()
            os.environ[MARK] = self._mark
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(self._output.fileno(), 2)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            from qpibench.cli.main import main

            sys.argv = ["qpibench", *words]
            first()
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            sys.stderr.flush()
            os._exit(code)
