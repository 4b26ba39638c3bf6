"""Checks the shapes of arrays that callers of the public functions give."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import UsageError


def check_shape(name: str, array: NDArray[Any], *axes: str | int) -> None:
    """Check the shape of an array.

    Parameters
    ----------
    name
        Name of the argument, for the message.
    array
        The array.
    axes
        For each axis its length, or the name of an axis of any length.

    Raises
    ------
    UsageError
        If the array has another number of axes, or an axis of another length.
    """
    found = np.shape(array)
    if len(found) == len(axes) and all(axis in (n, str(axis)) for axis, n in zip(axes, found, strict=True)):
        return
    expected = ", ".join(map(str, axes)) + ("," if len(axes) == 1 else "")
    raise UsageError(f"{name} must have the shape ({expected}), found {found}.")
