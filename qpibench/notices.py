"""Sentences for the user while work is going on: standard error in a library's use, what the command line sets else."""

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
    """Say a sentence, once in the life of the process."""
    _say("note", sentence)


def warn(sentence: str) -> None:
    """Say a sentence about something that the user should change, once in the life of the process."""
    _say("warning", f"Warning: {sentence}")


@contextmanager
def shown(*, notes: Show, warnings: Show) -> Iterator[None]:
    """Within this context, call other functions with the sentences, from any thread."""
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
