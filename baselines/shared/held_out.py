"""Cross-validation of weights: some blocks of the pixels are held out, and the others have to predict them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCKS = 6
"""Blocks along each side of an image."""

MARGIN = 0.05
"""Share by which an error may be above the least one."""


def held_out(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels (y, x) that are held out: every fourth block of those that can be used.

    The errors of a wrong model (a displaced scatterer, one that is missing, a line offset) are alike in neighbouring
    pixels. A flexible kernel fits them, and so neither the residual of the fitted pixels nor a single pixel held out
    among fitted ones shows them. A block of a sixth of the field does.
    """
    row, column = (np.arange(n) * BLOCKS // n for n in seen.shape)
    held: NDArray[np.bool_] = seen & ((row[:, None] + 2 * column) % 4 == 0)
    return held


def most(candidates: Sequence[float], error: Callable[[float], float]) -> float:
    """First candidate whose error is at most :data:`MARGIN` above the least one.

    An error has its spread, so the strongest smoothing whose error is not clearly more than the least is taken, as in
    L. Breiman et al., Classification and Regression Trees (Wadsworth, 1984), section 3.4.3. The error is taken to have
    one minimum: the search ends where it rises.

    Parameters
    ----------
    candidates
        From the strongest smoothing to the weakest.
    error
        Error of a candidate.
    """
    errors: list[float] = []
    for candidate in candidates:
        errors.append(error(candidate))
        if errors[-1] > min(errors):
            break
    least = min(errors)
    return next(
        candidate for candidate, each in zip(candidates, errors, strict=False) if each <= least + MARGIN * abs(least)
    )
