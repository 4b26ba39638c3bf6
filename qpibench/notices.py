"""Sentences for the user during long work. They go to standard error, or to the function that the command line sets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Show = Callable[[str], None]


def _print(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


_show: dict[str, Show] = {"note": _print, "warning": _print}
_said: set[str] = set()


def note(sentence: str) -> None:
    """Print a sentence, once per process."""
    _say("note", sentence)


def warn(sentence: str) -> None:
    """Print a sentence about something that the user should change, once per process."""
    _say("warning", f"Warning: {sentence}")


@contextmanager
def shown(*, notes: Show, warnings: Show) -> Iterator[None]:
    """Pass the sentences to other functions within this context, from any thread."""
    former = dict(_show)
    _show.update(note=notes, warning=warnings)
    try:
        yield
    finally:
        _show.update(former)


def _say(kind: str, sentence: str) -> None:
    if sentence not in _said:
        _said.add(sentence)
        _show[kind](sentence)
