"""Finds families, corruptions, readers and metrics: the modules of a package, by file name, loaded when used.

A module that is too long for one file is a folder of its name, whose ``__init__.py`` has the members that are found.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import sys
from functools import cache
from types import ModuleType
from typing import Any

from qpibench.errors import UsageError


def names(package: ModuleType) -> tuple[str, ...]:
    """Return the names of a package's modules in alphabetical order, without loading them.

    Folders appended to the package's ``__path__`` are searched as well.
    """
    return _names(tuple((folder, _changed(folder)) for folder in package.__path__))


@cache
def _names(folders: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    return tuple(sorted(found.name for found in pkgutil.iter_modules([folder for folder, _ in folders])))


def _changed(folder: str) -> int:
    """When a file was last added to a folder or removed; 0 for what is no folder, such as a ZIP file."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def load(package: ModuleType, name: str, what: str) -> Any:
    """Load a module of a package by name.

    Parameters
    ----------
    package
        The package to search.
    name
        File name of the module without suffix.
    what
        The kind of module for the message, such as ``"kernel family"``.

    Raises
    ------
    UsageError
        If the package has no such module; the message lists those it has.
    """
    if (loaded := sys.modules.get(f"{package.__name__}.{name}")) is not None:
        return loaded
    known = names(package)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}."
        raise UsageError(f"There is no {what} '{name}'; {hint}")
    return importlib.import_module(f"{package.__name__}.{name}")
