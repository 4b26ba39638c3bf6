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
    def reason(self) -> str | None:
        """Why training has to stop now, if it has to."""
        if self._asked:
            return "it was interrupted"
        return "the time is over" if self._ends is not None and time.monotonic() >= self._ends else None

    def ask(self, number: int, _frame: FrameType | None) -> None:
        """Take note of a signal; the next one of its kind does what it always does."""
        self._asked = True
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


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
