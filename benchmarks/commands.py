"""Run commands of ``qpibench`` as child processes, several at a time."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from threading import Lock, Thread
from typing import Self

from qpibench.errors import QpibenchError
from qpibench.evaluation.isolation.process import guard
from qpibench.processors import processors


class Commands:
    """Runs commands of ``qpibench``; several threads may call it. Leaving its context ends the commands still running.

    What a command writes to standard error is printed line by line. The lines by which it says that it was interrupted
    and how to resume it are left out where this class ended it, because whoever uses the class says how to continue.

    Parameters
    ----------
    jobs
        Number of commands that run at the same time.
    threads
        Threads of each command; None for an equal share of the processors.
    """

    def __init__(self, jobs: int, *, threads: int | None = None) -> None:
        share = str(threads or max(1, processors() // jobs))
        self._environment = os.environ | {"OMP_NUM_THREADS": share, "NUMBA_NUM_THREADS": share}
        self._lock, self._running, self._ended = Lock(), set[subprocess.Popen[str]](), False

    def __call__(self, arguments: Sequence[str]) -> str:
        """Run `qpibench` with these arguments and return its standard output.

        Raises
        ------
        QpibenchError
            If the command fails; its own message is on standard error.
        """
        shown = shlex.join(["qpibench", *arguments])
        with self._lock:
            if self._ended:
                raise QpibenchError(f"`{shown}` was not started, as others were ended.")
            print(shown, file=sys.stderr, flush=True)
            process = subprocess.Popen(
                [sys.executable, "-m", "qpibench.cli.main", *arguments],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # a Ctrl-C then reaches only this process, which ends the commands
            )
            self._running.add(process)
        assert process.stdout is not None
        assert process.stderr is not None
        told = Thread(target=self._print, args=(process.stderr,))
        told.start()
        with guard() as add_group:
            add_group(process.pid)  # killed if this process is killed
            printed = process.stdout.read()
            process.wait()
        told.join()
        with self._lock:
            self._running.remove(process)
        if process.returncode:
            raise QpibenchError(f"`{shown}` ended with exit code {process.returncode}.")
        return printed

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            if self._ended and "nterrupted" in line:
                continue
            with suppress(OSError):  # the lines are read on though nobody sees them: a full pipe would stop the command
                print(line, end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Start no more commands and terminate the running ones; a training then saves a checkpoint."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()
