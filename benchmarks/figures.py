"""A measured figure, and what it must reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of a benchmark.

    Attributes
    ----------
    name
        Key that stays the same from version to version, such as ``superposition.over_numpy_float64``.
    what
        The figure in words.
    unit
        Its unit; ``x`` for the ratio to a reference that was measured in the same rounds.
    value
        Median over the rounds.
    low, high
        Lower and upper quartile over the rounds.
    rounds
        How many there were.
    at_least, at_most
        Target, if there is one.
    """

    name: str
    what: str
    unit: str
    value: float
    low: float
    high: float
    rounds: int
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.at_least is not None:
            return self.value >= self.at_least
        if self.at_most is not None:
            return self.value <= self.at_most
        return None


def figure(
    name: str,
    what: str,
    unit: str,
    values: ArrayLike,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Figure:
    """Summarise the values of all rounds, one or more."""
    values = np.atleast_1d(np.asarray(values, dtype=np.float64))
    low, value, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return Figure(
        name=name,
        what=what,
        unit=unit,
        value=value,
        low=low,
        high=high,
        rounds=len(values),
        at_least=at_least,
        at_most=at_most,
    )


def figures_of(benchmark: dict[str, object]) -> Sequence[Figure]:
    """Figures of one benchmark in pytest-benchmark's JSON."""
    return [Figure(**fields) for fields in benchmark["extra_info"]["figures"]]
