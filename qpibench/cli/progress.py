"""How far a command is: one line on the terminal, which disappears at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qpibench.cli.answer import settings


@contextmanager
def progress(what: str, *, unit: str = "images") -> Iterator[Callable[[int, int], None] | None]:
    """Give a function that is told what is done and the total; None if nobody is looking.

    Parameters
    ----------
    what
        What is going on, such as ``"Generating"``.
    unit
        What is counted.
    """
    if settings().quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=what, file=sys.stderr, leave=False, dynamic_ncols=True, unit=f" {unit}") as bar:

        def tell(done: int, total: int) -> None:
            if bar.total != total:
                bar.reset(total)
            bar.update(done - bar.n)

        yield tell
