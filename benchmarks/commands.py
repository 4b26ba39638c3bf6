"""Run commands of ``qpibench`` as child processes, several at a time."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from threading import Lock
from typing import Self

from qpibench.errors import QpibenchError
from qpibench.evaluation.isolation.process import guard
from qpibench.processors import processors


class Commands:
    """Runs commands of ``qpibench``; several threads may call it. Leaving its context ends the commands still running.

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
                encoding="utf-8",
                start_new_session=True,  # a Ctrl-C then reaches only this process, which ends the commands
            )
            self._running.add(process)
        with guard(process.pid):  # kills the command if this process is killed
            printed, _ = process.communicate()
        with self._lock:
            self._running.remove(process)
        if process.returncode:
            raise QpibenchError(f"`{shown}` ended with exit code {process.returncode}.")
        return printed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Start no more commands and terminate the running ones; a training then saves a checkpoint."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()
