"""Finds families, corruptions, readers and metrics: the modules of a package, by file name, loaded when used."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType
from typing import Any

from qpibench.errors import UsageError


def names(package: ModuleType) -> tuple[str, ...]:
    """Names of a package's modules, in alphabetical order; none is loaded.

    A folder that is appended to the package's ``__path__`` is searched as well.
    """
    return tuple(sorted(found.name for found in pkgutil.iter_modules(package.__path__)))


def load(package: ModuleType, name: str, what: str) -> Any:
    """The module of that name.

    Parameters
    ----------
    package
        Where to look.
    name
        Its file name without suffix.
    what
        What the modules are, for the message: such as ``"kernel family"``.

    Raises
    ------
    UsageError
        If there is none.
    """
    known = names(package)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}."
        raise UsageError(f"There is no {what} '{name}'; {hint}")
    return importlib.import_module(f"{package.__name__}.{name}")
