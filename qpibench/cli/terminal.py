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


def echo(text: str, *, err: bool = False) -> None:
    """Print a text and a line break on standard output or standard error."""
    stream = sys.stderr if err else sys.stdout
    click.echo(printable(text, stream), err=err)


def printable(text: str, stream: TextIO) -> str:
    """The text with a backslash escape in place of every character that the stream cannot encode.

    File names that are not valid in the system's encoding have such characters (lone surrogates) too.
    """
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def sentence(text: str) -> str:
    """The text with long names and paths, quoted or without spaces, shortened."""
    return _LONG.sub(lambda found: shortened(found[0], _SHOWN), text)


def shortened(name: str, width: int = NAME_WIDTH) -> str:
    """The beginning and the end of a name that is longer than the width, with three dots between them."""
    if len(name) <= width:
        return name
    end = (width - 3) // 3
    return f"{name[: width - 3 - end]}...{name[-end:]}"
