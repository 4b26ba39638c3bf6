"""Chooses the images of a report by the rank of their error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEDIAN = "Median"


@dataclass(frozen=True)
class Pick:
    """A chosen image: its label, and its row among the scored images."""

    label: str
    row: int


def pick_by_rank(errors: NDArray[np.float64], *, worst: int = 2, best: int = 1) -> list[Pick]:
    """Choose the worst, the median and the best images.

    Parameters
    ----------
    errors
        (n,) error of every image; an image whose error is not finite has no prediction and is not chosen.
    worst, best
        Number of worst and of best images.

    Returns
    -------
    list of Pick
        Distinct images from the worst to the best. Of equal errors the earlier row counts as better; of an even number
        of images the median is the better of the middle two.
    """
    finite = np.flatnonzero(np.isfinite(errors))
    ranked = finite[np.argsort(errors[finite], kind="stable")]
    n = len(ranked)
    labels = {n - 1 - place: _ordinal(place, "worst") for place in reversed(range(min(worst, n)))}
    labels |= {place: _ordinal(place, "best") for place in reversed(range(min(best, n)))}
    if n:
        labels[(n - 1) // 2] = MEDIAN
    return [Pick(labels[rank], int(ranked[rank])) for rank in sorted(labels, reverse=True)]


def _ordinal(place: int, kind: str) -> str:
    return kind.capitalize() if place == 0 else f"{place + 1}{ {1: 'nd', 2: 'rd'}.get(place, 'th') } {kind}"
