"""Printing texts on any terminal: characters that it has not are escaped, and long names are shortened."""

from __future__ import annotations

import re
import sys
from typing import TextIO

import click

NAME_WIDTH = 40
"""Characters of a name in a table, at most."""

_SHOWN = 300
"""Characters of a name or a path in a sentence, at most."""

_LONG = re.compile(rf"(?<=')[^'\n]{{{_SHOWN + 1},}}(?=')|[^\s']{{{_SHOWN + 1},}}")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x80-\x9f]")


def echo(text: str, *, err: bool = False) -> None:
    """Print a text and a line break on standard output or standard error."""
    stream = sys.stderr if err else sys.stdout
    click.echo(printable(text, stream), err=err)


def printable(text: str, stream: TextIO) -> str:
    """The text with a backslash escape in place of every character that the stream cannot encode.

    File names that are not valid in the system's encoding have such characters (lone surrogates) too. Control
    characters are escaped as well, because names come from files of other people and could change the terminal.
    """
    encoding = stream.encoding or "utf-8"
    safe = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", decoded(text))
    return safe.encode(encoding, "backslashreplace").decode(encoding)


def decoded(text: str) -> str:
    """The text with UTF-8 file names as they read, also where the locale has another encoding."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair that is no byte of a file name
        return text


def sentence(text: str) -> str:
    """The text with long names and paths, quoted or without spaces, shortened."""
    return _LONG.sub(lambda found: shortened(found[0], _SHOWN), text)


def shortened(name: str, width: int = NAME_WIDTH) -> str:
    """The name in one line, and of one that is longer than the width the beginning and the end around three dots."""
    name = " ".join(name.split())
    if len(name) <= width:
        return name
    end = (width - 3) // 3
    return f"{name[: width - 3 - end]}...{name[-end:]}"
