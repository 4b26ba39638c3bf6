"""Comparison of two runs of the benchmarks: of ratios always, of rates if both ran on the same machine.

The spread of a figure is the sum of both runs' quartile ranges over the rounds. A figure *fell* if its median is worse
by more than the spread, *rose* if it is better by more than the spread, and is the *same* otherwise. Quartile ranges
that do not overlap are too weak a criterion: two runs of the same code often show that, as the state of a machine
changes. A figure of fewer than ``FEWEST_ROUNDS`` rounds has no reliable spread and is *not judged*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qpibench.errors import RegressionError, UsageError
from qpibench.throughput.history import Figure, Run

FEWEST_ROUNDS = 5

Verdict = Literal["fell", "rose", "same", "not judged"]

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A figure in two runs, and the verdict on the second."""

    first: Figure
    second: Figure

    @property
    def change(self) -> float | None:
        """Return the second value divided by the first; None if the first is zero."""
        return self.second.value / self.first.value if self.first.value else None

    @property
    def verdict(self) -> Verdict:
        """Return the verdict that the module's docstring defines."""
        if min(self.first.rounds, self.second.rounds) < FEWEST_ROUNDS:
            return "not judged"
        rise = self.second.value - self.first.value
        if abs(rise) <= (self.first.high - self.first.low) + (self.second.high - self.second.low):
            return "same"
        return "rose" if (rise > 0) == self.second.higher_is_better else "fell"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparison of two runs of the benchmarks.

    Attributes
    ----------
    same_machine
        Whether rates are compared as well.
    pairs
        Figures that both runs measured, in the order of the second run.
    only_first, only_second
        Names of comparable figures that only one run measured.
    """

    same_machine: bool
    pairs: Sequence[Pair]
    only_first: Sequence[str]
    only_second: Sequence[str]

    def require_no_fall(self) -> None:
        """Raise an error if a figure fell.

        Raises
        ------
        RegressionError
            If a figure fell; the message names the first of them.
        """
        fallen = [pair for pair in self.pairs if pair.verdict == "fell"]
        if not fallen:
            return
        listed = "; ".join(
            f"{pair.second.name} from {pair.first.value:.4g} to {pair.second.value:.4g} {pair.second.unit}".rstrip()
            for pair in fallen[:_SHOWN]
        )
        more = f"; and {len(fallen) - _SHOWN} more" if len(fallen) > _SHOWN else ""
        raise RegressionError(f"Worse than before by more than the spread: {listed}{more}.")


def compare(first: Run, second: Run) -> Comparison:
    """Compare a run with an earlier one.

    Raises
    ------
    UsageError
        If they have no figure in common that can be compared.
    """
    same_machine = first.machine.name == second.machine.name
    comparable = [
        {name: figure for name, figure in run.figures.items() if figure.is_ratio or (same_machine and figure.is_rate)}
        for run in (first, second)
    ]
    pairs = [Pair(first=comparable[0][n], second=figure) for n, figure in comparable[1].items() if n in comparable[0]]
    if not pairs:
        raise UsageError(
            f"'{first.path}' and '{second.path}' have no ratio in common, and rates are compared on one machine only;"
            " give two runs of the same benchmarks."
        )
    return Comparison(
        same_machine=same_machine,
        pairs=pairs,
        only_first=[name for name in comparable[0] if name not in comparable[1]],
        only_second=[name for name in comparable[1] if name not in comparable[0]],
    )
