"""TOML files that are read by name, if they come with the package, or from a path: tracks and suites."""

from __future__ import annotations

import difflib
import os
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from qpibench.errors import UsageError
from qpibench.parsing import parse_toml
from qpibench.paths import text_of_path

Kind = Literal["track", "suite"]


def names(kind: Kind) -> tuple[str, ...]:
    """Names of the files of a kind that come with the package, sorted; their folder is ``tracks`` or ``suites``."""
    folder = resources.files("qpibench.tasks") / f"{kind}s"
    return tuple(sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".toml")))


def read(kind: Kind, source: str) -> tuple[str, Path, dict[str, Any]]:
    """Read a file by its name or path; return its name, the folder that paths in it are relative to, and its content.

    Raises
    ------
    UsageError
        If there is no such file, or it cannot be read.
    InvalidDataError
        If it is not TOML.
    """
    told = f"{kind.capitalize()} '{source}'"
    try:
        if source in names(kind):
            file = resources.files("qpibench.tasks") / f"{kind}s" / f"{source}.toml"
            return source, Path(), parse_toml(file.read_bytes(), told)
        path = Path(source)
        if not os.path.isfile(path):
            raise UsageError(f"There is no {kind} and no file '{source}'; {hint(source, names(kind))}")
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{told} cannot be read: {error.strerror}.") from None
    return text_of_path(path.stem), path.parent, parse_toml(text, f"{told} cannot be read: it")


def hint(name: str, known: tuple[str, ...]) -> str:
    """Return the end of a message about an unknown name: the known name nearest to it, or all."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(known)}."
