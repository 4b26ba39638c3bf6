"""Progress of a command: one line on the terminal, erased when the command ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qpibench.cli.response import settings
from qpibench.cli.terminal import echo, printable


@contextmanager
def progress(what: str, *, unit: str = "images") -> Iterator[Callable[[int, int], None] | None]:
    """Return a function that shows the number done and the total; None if standard error is no terminal.

    Parameters
    ----------
    what
        The activity, such as ``"Generating"``.
    unit
        The things counted, such as ``"images"``.
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


def say(sentence: str) -> None:
    """Print a sentence on standard error, above a line of progress if there is one; from any thread."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(printable(sentence, sys.stderr), file=sys.stderr)
        sys.stderr.flush()  # as echo does, and tqdm does not
    else:
        echo(sentence, err=True)
