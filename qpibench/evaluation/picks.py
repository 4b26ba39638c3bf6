"""Chooses images by the rank of their error, so that nobody chooses what is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEDIAN = "Median"


@dataclass(frozen=True)
class Pick:
    """An image chosen by its rank: what to call it, and its row among the scored images."""

    label: str
    row: int


def pick_by_rank(errors: NDArray[np.float64], *, worst: int = 2, best: int = 1) -> list[Pick]:
    """Choose the worst, the median and the best images.

    Parameters
    ----------
    errors
        (n,) error of every image; those that are not finite were not answered and are not chosen.
    worst, best
        How many of each.

    Returns
    -------
    list of Pick
        From the worst to the best, none twice. Of equal errors the earlier row is the better one; of an even number of
        images the median is the better of the middle two.
    """
    answered = np.flatnonzero(np.isfinite(errors))
    ranked = answered[np.argsort(errors[answered], kind="stable")]
    n = len(ranked)
    labels = {n - 1 - place: _ordinal(place, "worst") for place in reversed(range(min(worst, n)))}
    labels |= {place: _ordinal(place, "best") for place in reversed(range(min(best, n)))}
    if n:
        labels[(n - 1) // 2] = MEDIAN
    return [Pick(labels[rank], int(ranked[rank])) for rank in sorted(labels, reverse=True)]


def _ordinal(place: int, kind: str) -> str:
    return kind.capitalize() if place == 0 else f"{place + 1}{ {1: 'nd', 2: 'rd'}.get(place, 'th') } {kind}"
