"""How far a command is: one line on the terminal, which disappears at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from qpibench.cli.answer import settings

REDRAW_S = 0.1


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function that is told what is done and the total; None if nobody is looking.

    Parameters
    ----------
    what
        What is going on, such as ``"Generating"``.
    """
    if settings().quiet or not sys.stderr.isatty():
        yield None
        return
    line = _Line(what)
    try:
        yield line
    finally:
        line.clear()


class _Line:
    # Without escape sequences, so that it works on every terminal and has no colours to switch off.
    def __init__(self, what: str) -> None:
        self._what, self._started, self._drawn_at, self._width = what, time.monotonic(), -REDRAW_S, 0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._drawn_at < REDRAW_S:
            return
        self._drawn_at = now
        left = (now - self._started) * (total - done) / done if done else None
        self._draw(f"{self._what} {done / max(total, 1):4.0%}  {done:,} of {total:,}{_duration(left)}")

    def clear(self) -> None:
        self._draw("")
        click.echo("\r", nl=False, err=True)

    def _draw(self, text: str) -> None:
        click.echo("\r" + text.ljust(self._width), nl=False, err=True)
        self._width = len(text)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"  {hours}:{minutes:02}:{rest:02} left" if hours else f"  {minutes}:{rest:02} left"
