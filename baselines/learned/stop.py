"""Reasons to stop training before its last step: a signal or the time limit."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether training has to stop, and why; :func:`watch` makes it."""

    def __init__(self, max_seconds: float | None) -> None:
        self._ends = None if max_seconds is None else time.monotonic() + max_seconds
        self._asked = False

    @property
    def interrupted(self) -> bool:
        """Whether a signal asked to stop."""
        return self._asked

    @property
    def reason(self) -> str | None:
        """Reason why training has to stop now, or None."""
        if self._asked:
            return "it was interrupted"
        return "the time is over" if self._ends is not None and time.monotonic() >= self._ends else None

    def ask(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal: remember that it came. A second Ctrl-C raises KeyboardInterrupt.

        A second SIGTERM changes nothing: a batch system sends it to every process of a job, so this process gets one
        from the system and one from its parent.
        """
        self._asked = True
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def ends_at_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process at once within the context, even while a library waits for other processes.

    It serves for the time before the first step, when there is nothing to save.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


@contextmanager
def watch(max_seconds: float | None) -> Iterator[Stop]:
    """Watch for the time limit, SIGTERM and Ctrl-C within the context."""
    stop = Stop(max_seconds)
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield stop
        return
    former = {number: signal.signal(number, stop.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
