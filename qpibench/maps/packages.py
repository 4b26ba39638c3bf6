"""Optional packages that read a microscope's files."""

from __future__ import annotations

import importlib
from typing import Any

from qpibench.errors import UnavailableError


def optional(module: str, package: str, what: str) -> Any:
    """Import a module of an optional package.

    Parameters
    ----------
    module, package
        Names of the module and of the package that has it.
    what
        The kind of file for the message, such as ``a Gwyddion file``.

    Raises
    ------
    UnavailableError
        If the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise UnavailableError(
            f"Reading {what} needs the package {package}, which is not installed; install it with: pip install"
            ' "qpibench[maps]"'
        ) from None
