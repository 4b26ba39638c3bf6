"""Finds lasting changes of a figure: change points of its values over the runs, by PELT [1]_.

.. [1] R. Killick, P. Fearnhead and I. A. Eckley, Optimal detection of changepoints with a linear computational cost,
   J. Am. Stat. Assoc. 107, 1590 (2012).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.errors import UnavailableError

FEWEST = 3
"""Smallest number of runs on either side of a step; a shorter change may be an unusual state of the machine."""

SMALLEST = 2.0
"""Size of the smallest step, in standard deviations of the values."""

PENALTY = 2.5
"""Penalty of each cut, in standard deviations of the values times the logarithm of their number.

With this value, 1 % of constant figures with normal noise get a false step, for 6 to 50 runs. Among 20 runs, a step of
four standard deviations is found within one run of its place in 95 % of cases, a step of two in 32 %.
"""

_NORMAL_MAD = 0.6745
"""Ratio of a normal distribution's median absolute deviation, or half its quartile range, to its standard deviation."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A lasting change of a figure.

    Attributes
    ----------
    place
        Index of the first value after the step.
    before, after
        Medians of the values between the neighbouring steps.
    """

    place: int
    before: float
    after: float


def find_steps(values: ArrayLike, quartile_ranges: ArrayLike) -> tuple[Step, ...]:
    """Find the steps in the values of one figure over the runs.

    The values are cut into pieces. The cuts minimise the sum of absolute deviations from the median of each piece plus
    ``PENALTY * sigma * log(n)`` per cut; a single outlier moves no median. The noise sigma is estimated from the
    differences between neighbours, of which a step changes only one, and is at least the spread within a run. A cut is
    a step if the medians of its pieces differ by at least ``SMALLEST * sigma`` and at least ``FEWEST`` values of each
    piece lie nearer to its own median.

    Parameters
    ----------
    values
        (run,) medians over the rounds of each run, in the order of time.
    quartile_ranges
        (run,) differences between the quartiles.

    Raises
    ------
    UnavailableError
        If the package ruptures is missing.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2 * FEWEST:
        return ()
    # Without noise, sigma is rounding error, and every deviation would count as a step.
    sigma = max(_noise(values, np.asarray(quartile_ranges)), 1e-9 * float(np.abs(values).max()))
    if sigma == 0:
        return ()
    ruptures = _ruptures()
    search = ruptures.Pelt(model="l1", min_size=FEWEST, jump=1).fit(values / sigma)
    ends = search.predict(pen=PENALTY * np.log(len(values)))
    pieces = [values[start:stop] for start, stop in itertools.pairwise([0, *ends])]
    cuts = [
        end
        for end, (before, after) in zip(ends, itertools.pairwise(pieces), strict=False)
        if _is_step(before, after, sigma)
    ]
    levels = [float(np.median(values[start:stop])) for start, stop in itertools.pairwise([0, *cuts, len(values)])]
    return tuple(
        Step(place=place, before=before, after=after)
        for place, (before, after) in zip(cuts, itertools.pairwise(levels), strict=True)
    )


def _is_step(before: NDArray[np.float64], after: NDArray[np.float64], sigma: float) -> bool:
    """Return whether both levels lasted; a piece of two outliers and one ordinary run has no lasting level."""
    levels = np.median(before), np.median(after)
    nearer_to_before = (np.abs(before - levels[0]) < np.abs(before - levels[1])).sum()
    nearer_to_after = (np.abs(after - levels[1]) < np.abs(after - levels[0])).sum()
    is_large = abs(levels[1] - levels[0]) >= SMALLEST * sigma
    return bool(is_large and min(nearer_to_before, nearer_to_after) >= FEWEST)


def _noise(values: NDArray[np.float64], quartile_ranges: NDArray[np.float64]) -> float:
    between = np.median(np.abs(np.diff(values))) / np.sqrt(2)
    within = np.median(quartile_ranges) / 2
    return float(max(between, within)) / _NORMAL_MAD


def _ruptures() -> Any:
    try:
        import ruptures
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"Finding when a figure changed needs the package ruptures ({error}): pip install 'qpibench[bench]'."
        ) from None
    return ruptures
