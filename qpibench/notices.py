"""Sentences for the user during long work. They go to standard error, or to the function that the command line sets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

Show = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """The functions that show sentences, and the sentences that they have shown."""

    notes: Show
    warnings: Show
    said: set[str] = field(default_factory=set)

    def say(self, show: Show, sentence: str) -> None:
        if sentence not in self.said:
            self.said.add(sentence)
            show(sentence)


def _print(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


_printed = _Shown(notes=_print, warnings=_print)
_current: ContextVar[_Shown] = ContextVar("shown")


def note(sentence: str) -> None:
    """Print a sentence, once within a context of :func:`shown`, outside of all of them once per process."""
    now = _current.get(_printed)
    now.say(now.notes, sentence)


def warn(sentence: str) -> None:
    """Print a sentence about something that the user should change, as often as :func:`note`."""
    now = _current.get(_printed)
    now.say(now.warnings, f"Warning: {sentence}")


@contextmanager
def shown(*, notes: Show, warnings: Show) -> Iterator[None]:
    """Pass the sentences to other functions within this context.

    Other threads are not concerned, unless they run in a copy of this one's context (`contextvars.copy_context`).
    """
    token = _current.set(_Shown(notes=notes, warnings=warnings))
    try:
        yield
    finally:
        _current.reset(token)
