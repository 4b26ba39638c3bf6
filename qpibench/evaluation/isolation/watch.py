"""Watches the worker of a model: whether it is alive, and whether its time and memory are within the limits."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

MOST_WAITING = 10
"""So many times its limit may pass for a process that waits for processors."""

_CHILDREN_EVERY_S = 0.5  # finding child processes reads every process of the machine
GIB = 1 << 30


class LimitReached(Exception):
    """A limit was reached; ``kind`` is ``time limit`` or ``memory limit``."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Watch:
    """Check of a worker, to be called often while waiting for it.

    On Linux, the time in which its main thread could run, but had no processor, does not count, so that a busy machine
    fails no model; but no more than :data:`MOST_WAITING` times the limit may pass.

    Parameters
    ----------
    process
        The process.
    memory_gib
        Limit of the resident memory of the process and its children, above the baseline.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, memory_gib: float) -> None:
        self._process, self._memory_gib = process, memory_gib
        self._handle = psutil.Process(process.pid)
        self._children: list[psutil.Process] = []
        self._children_seen = 0.0
        self._limit_s = float("inf")
        self._began_s = self._began_waited_s = self._began_computed_s = 0.0
        self._baseline = 0
        self.peak_bytes = 0

    def set_time_limit(self, seconds: float) -> None:
        """Restart the clock."""
        self._limit_s, self._began_s = seconds, time.monotonic()
        self._began_waited_s, self._began_computed_s = self._waited_s(), self._computed_s()

    def set_baseline(self) -> None:
        """Take the present memory as the baseline of the memory limit."""
        self._baseline = self._resident_bytes()

    def __call__(self) -> bool:
        """Return whether the process is alive.

        Raises
        ------
        LimitReached
            If the time or the memory exceeds its limit.
        """
        if self._process.poll() is not None:
            return False
        if self._is_late():
            computed_s = max(0.0, self._computed_s() - self._began_computed_s)
            text = f"took longer than {self._limit_s:g} s, with {computed_s:.1f} s of processor time"
            raise LimitReached("time limit", text)
        above = self._resident_bytes() - self._baseline
        if above > self._memory_gib * GIB:
            base = f" above the {self._baseline / GIB:.2f} GiB that it had after import" if self._baseline else ""
            text = f"took {above / GIB:.2f} GiB of memory{base}; the limit is {self._memory_gib:g} GiB"
            raise LimitReached("memory limit", text)
        return True

    def _is_late(self) -> bool:
        passed_s = time.monotonic() - self._began_s
        if passed_s <= self._limit_s:
            return False
        waited_s = self._waited_s() - self._began_waited_s
        return passed_s - waited_s > self._limit_s or passed_s > MOST_WAITING * self._limit_s

    def _waited_s(self) -> float:
        """Time in which the main thread waited for a processor; 0 where the system does not tell it."""
        try:
            return int(Path(f"/proc/{self._process.pid}/schedstat").read_bytes().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def _computed_s(self) -> float:
        """Time that processors spent on the process and its children, of which some have ended; all threads count."""
        total = 0.0
        for process in (self._handle, *self._children):
            with suppress(psutil.Error):
                total += sum(process.cpu_times()[:4])  # user and system, its own and of children that ended
        return total

    def _resident_bytes(self) -> int:
        total = 0
        with suppress(psutil.Error):
            if time.monotonic() - self._children_seen > _CHILDREN_EVERY_S:
                self._children = self._handle.children(recursive=True)
                self._children_seen = time.monotonic()
            total = self._handle.memory_info().rss
        for child in self._children:
            with suppress(psutil.Error):
                total += child.memory_info().rss
        self.peak_bytes = max(self.peak_bytes, total)
        return total
