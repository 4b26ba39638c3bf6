"""Runs commands of qpibench one after the other in a process that is watched: its time, its memory and its death.

As a program, it is that process: it reads lines of JSON, the arguments of commands, and answers with lines of JSON.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LIMIT_S = 600.0
"""Time after which a command counts as hanging; the slowest takes seconds on an idle machine."""

LIMIT_BYTES = 2**30
"""Largest memory of a process that runs a command."""

MAX_FILE_BYTES = 2**30
MAX_ADDRESSES = 2**34

_EXIT_CODES = (0, 1, 2, 3, 4)
_WARNING_OF_PYTHON = re.compile(r"\.pyx?:\d+: \w+Warning")


@dataclass(frozen=True)
class Ran:
    """A command that has ended.

    Attributes
    ----------
    exit_code
        None if the process died or hung.
    stdout, stderr
        What it printed.
    noise
        What was printed past Python, or the end of a process that died.
    seconds, memory_bytes
        Its time, and the largest memory of its process meanwhile.
    """

    exit_code: int | None
    stdout: str = ""
    stderr: str = ""
    noise: str = ""
    seconds: float = 0.0
    memory_bytes: int = 0

    @property
    def complaint(self) -> str | None:
        """The way in which the command broke a rule; None if it broke none."""
        printed = self.stdout + self.stderr
        errors = [line for line in self.stderr.splitlines() if line.startswith("Error: ")]
        if self.exit_code is None:
            return "died or hung"
        if self.memory_bytes > LIMIT_BYTES or "memory of this machine" in printed:
            return "memory"
        if "Traceback (most recent call last)" in printed:
            return "traceback"
        if any("Unexpected " in line for line in errors):
            return "unexpected error"
        if self.exit_code not in _EXIT_CODES:
            return f"exit code {self.exit_code}"
        if (self.exit_code != 0) != (len(errors) == 1) or len(errors) > 1:
            return "not one sentence"
        if self.noise or _WARNING_OF_PYTHON.search(printed):
            return "warning of a library"
        return None


class Commands:
    """The process; a new one is started for the command after one that died or hung. Use it as a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115
        self._unread = b""

    def run(self, arguments: Sequence[str]) -> Ran:
        """Run one command to its end."""
        process = self._process = self._process or self._start()
        began = time.monotonic()
        self._noise.seek(0)
        self._noise.truncate()
        assert process.stdin is not None
        process.stdin.write(json.dumps(list(arguments)).encode() + b"\n")
        process.stdin.flush()
        answer = self._line(process, began + LIMIT_S)
        seconds = time.monotonic() - began
        if answer is None:
            hung = process.poll() is None
            self._stop()
            how = f"hung for {seconds:.0f} s" if hung else f"died with {process.returncode}"
            return Ran(None, noise=f"{how}: {self._printed()}", seconds=seconds)
        told: dict[str, Any] = json.loads(answer)
        ran = Ran(**told, noise=self._printed(), seconds=seconds)
        if ran.memory_bytes > LIMIT_BYTES:
            self._stop()  # which may keep that memory, for which later commands must not answer
        return ran

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()
        self._noise.close()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.campaigns.commands"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            start_new_session=True,
        )

    def _line(self, process: subprocess.Popen[bytes], deadline: float) -> bytes | None:
        """The next line that the process writes; None if it ends or takes too long."""
        assert process.stdout is not None
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                return None
            part = os.read(process.stdout.fileno(), 1 << 16)
            if not part:
                process.wait()
                return None
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _stop(self) -> None:
        process, self._process, self._unread = self._process, None, b""
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGABRT)  # faulthandler writes where it was
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()

    def _printed(self) -> str:
        self._noise.seek(0)
        return self._noise.read(20_000).decode(errors="replace")


def serve() -> None:
    """Run the commands of standard input."""
    from click.testing import CliRunner

    from qpibench.cli.main import cli

    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESSES, MAX_ADDRESSES))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for category in (RuntimeWarning, UserWarning):
        warnings.simplefilter("always", category)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the largest memory so far
        result = CliRunner().invoke(cli, json.loads(line), prog_name="qpibench")
        told = {
            "exit_code": result.exit_code,
            "stdout": result.stdout,
            "stderr": result.stderr,
            "memory_bytes": _largest_memory(),
        }
        answers.write(json.dumps(told) + "\n")
        answers.flush()


def _largest_memory() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    serve()
