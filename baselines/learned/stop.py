"""When training has to end before its steps are done."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether to stop, and why; made by :func:`watch`."""

    def __init__(self, max_seconds: float | None) -> None:
        self._ends = None if max_seconds is None else time.monotonic() + max_seconds
        self._asked = False

    @property
    def interrupted(self) -> bool:
        """Whether a signal asked to stop."""
        return self._asked

    @property
    def reason(self) -> str | None:
        """Why training has to stop now, if it has to."""
        if self._asked:
            return "it was interrupted"
        return "the time is over" if self._ends is not None and time.monotonic() >= self._ends else None

    def ask(self, number: int, _frame: FrameType | None) -> None:
        """Take note of a signal. A second Ctrl-C raises KeyboardInterrupt.

        A second SIGTERM changes nothing: a batch system sends it to every process of a job, so this process gets one
        from the system and one from its parent.
        """
        self._asked = True
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def ends_at_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process at once, even while it waits in a library, such as for other processes.

    Only for the time before the first step, when there is nothing to save.
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
    """Stop after a time, at SIGTERM and at Ctrl-C."""
    stop = Stop(max_seconds)
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield stop
        return
    former = {number: signal.signal(number, stop.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
