"""Prints texts on any terminal, or on none: escapes characters that the terminal lacks and shortens long names."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

import click

NAME_WIDTH = 40
"""Largest number of characters of a name in a table."""

_SHOWN = 300
"""Largest number of characters of a name or a path in a sentence."""

# A quotation mark after a letter ends a name: the text from there to the next name is the sentence's own.
_LONG = re.compile(rf"(?<=')(?<![^\s(]')[^'\n]{{{_SHOWN + 1},}}(?=')|[^\s']{{{_SHOWN + 1},}}")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x80-\x9f]")


def open_streams() -> None:
    """Open standard input, output and error on the null device where the caller has closed them.

    Otherwise the next file that is opened gets the number of a closed stream, and is written into by what prints there.
    """
    for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, mode, encoding="utf-8", closefd=False))


def echo(text: str, *, err: bool = False) -> None:
    """Print a text and a line break on standard output or standard error."""
    stream = sys.stderr if err else sys.stdout
    click.echo(printable(text, stream), err=err)


@contextmanager
def prints_aside() -> Iterator[None]:
    """Send what an entry prints to standard error, also from other processes: standard output has the result only."""
    sys.stdout.flush()
    own = None
    with suppress(OSError):  # one of the two is closed
        os.fstat(2)
        own = os.dup(1)
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if own is not None:
            os.dup2(own, 1)
            os.close(own)


def printable(text: str, stream: TextIO) -> str:
    """Return the text with a backslash escape for every character that the stream cannot encode.

    These include the lone surrogates of file names that are not valid in the system's encoding. Control characters are
    escaped too, because names in other people's files could otherwise change the terminal.
    """
    encoding = stream.encoding or "utf-8"
    safe = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", decoded(text))
    return safe.encode(encoding, "backslashreplace").decode(encoding)


def decoded(text: str) -> str:
    """Return the text with UTF-8 file names decoded, even if the locale has another encoding."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair that is no byte of a file name
        return text


def sentence(text: str) -> str:
    """Return the text with long names and paths, quoted or without spaces, shortened."""
    return _LONG.sub(lambda found: shortened(found[0], _SHOWN), text)


def shortened(name: str, width: int = NAME_WIDTH) -> str:
    """Return the name in one line; of a longer name, its beginning and its end around three dots."""
    name = " ".join(name.split())
    if len(name) <= width:
        return name
    end = (width - 3) // 3
    return f"{name[: width - 3 - end]}...{name[-end:]}"
