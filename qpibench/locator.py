"""Finds the folders `baselines` and `kernels_cuda`, in a checkout or in the installed wheel."""

from __future__ import annotations

from pathlib import Path

from qpibench.errors import QpibenchError

PACKAGE = Path(__file__).resolve().parent


def locate(name: str) -> Path:
    """Find a folder such as ``baselines`` or ``kernels_cuda``.

    The wheel installs it inside the package, as ``_baselines``; a checkout has it beside the package.

    Raises
    ------
    QpibenchError
        If neither place has it.
    """
    places = (PACKAGE / f"_{name}", PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    raise QpibenchError(
        f"The folder '{name}' of qpibench is missing: it is neither at '{places[0]}' nor at '{places[1]}';"
        " install the package again."
    )
