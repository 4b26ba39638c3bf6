"""Paths as text, for files and messages that outlive the process or go to another one.

A file name is a sequence of bytes. Python's texts of it depend on the locale, and have lone surrogates where the bytes
are not valid in its encoding. The functions here do not depend on the locale.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from qpibench.errors import UsageError


def text_of_path(path: str | Path) -> str:
    """Return a path or a name as UTF-8 text, as records and pages hold it.

    Raises
    ------
    UsageError
        If the bytes of the name are not UTF-8.
    """
    try:
        return os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"The name '{path}' cannot be written as text: it is not valid UTF-8; rename it.") from None


def path_of_text(text: str) -> Path:
    """Return the path that :func:`text_of_path` made a text of."""
    return Path(os.fsdecode(text.encode("utf-8", "surrogateescape")))


def quoted(path: Path) -> str:
    """Return any path as ASCII text, its bytes percent-encoded, for another process."""
    return quote_from_bytes(os.fsencode(path))


def unquoted(text: str) -> Path:
    """Return the path that :func:`quoted` made a text of."""
    return Path(os.fsdecode(unquote_to_bytes(text)))
