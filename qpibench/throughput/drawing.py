"""Coordinates of the drawing that shows one figure over the runs of a machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qpibench.pages.notation import decade
from qpibench.throughput.history import Figure
from qpibench.throughput.steps import Step

WIDTH, HEIGHT = 400, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 18, 20


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A linear vertical axis.

    Attributes
    ----------
    low, high
        Values at its ends.
    exponent
        Labels are in units of 10 to this power.
    """

    low: float
    high: float
    exponent: int

    @classmethod
    def around(cls, values: Sequence[float]) -> Scale:
        """Return an axis that spans all values with a margin."""
        low, high = min(values), max(values)
        margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        largest = max(abs(low), abs(high))
        power = math.floor(math.log10(largest)) if largest else 0
        exponent = 0 if -3 <= power < 4 else 3 * (power // 3)
        return cls(low=low - margin, high=high + margin, exponent=exponent)

    def y(self, value: float) -> float:
        """Return the vertical coordinate of a value, measured from the top."""
        share = (value - self.low) / (self.high - self.low)
        return round(TOP + (1 - share) * (HEIGHT - TOP - BOTTOM), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Return positions and labels of two to five round numbers."""
        span = (self.high - self.low) / 10.0**self.exponent
        unit = 10.0 ** math.floor(math.log10(span / 2))
        step = next(unit * factor for factor in (5, 2, 1) if span / (unit * factor) >= 2)
        decimals = max(0, -math.floor(math.log10(step)))
        first = math.ceil(self.low / 10.0**self.exponent / step)
        last = math.floor(self.high / 10.0**self.exponent / step)
        return [
            (self.y(n * step * 10.0**self.exponent), f"{n * step:.{decimals}f}".replace("-", "\N{MINUS SIGN}"))
            for n in range(first, last + 1)
        ]

    def number(self, value: float) -> str:
        """Return a value with three digits, in units of the axis's power of ten."""
        scaled = value / 10.0**self.exponent
        decimals = max(0, 2 - math.floor(math.log10(abs(scaled)))) if scaled else 0
        return f"{scaled:.{decimals}f}".replace("-", "\N{MINUS SIGN}")

    def unit(self, unit: str) -> str:
        """Return the unit, preceded by the axis's power of ten."""
        power = f"\N{MULTIPLICATION SIGN}{decade(self.exponent)} " if self.exponent else ""
        return (power + ("\N{MULTIPLICATION SIGN}" if unit == "x" else unit)).strip()


@dataclass(frozen=True, kw_only=True)
class Point:
    """A run in the drawing: its median and its quartiles."""

    x: float
    y: float
    y_low: float
    y_high: float
    place: int


@dataclass(frozen=True, kw_only=True)
class Level:
    """A horizontal line at the median of the values between two steps."""

    x_first: float
    x_last: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A step in the drawing."""

    x: float
    label: str
    is_better: bool
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """The drawing of one figure."""

    scale: Scale
    points: Sequence[Point]
    levels: Sequence[Level]
    marks: Sequence[Mark]
    target: float | None


def plot(figures: Sequence[Figure | None], steps: Sequence[Step]) -> Plot:
    """Compute the drawing of a figure.

    Parameters
    ----------
    figures
        (run,) the figure in each run of the machine; None for a run without it. At least one run has it.
    steps
        Steps of the figure; their places count the runs that measured it.
    """
    measured = [(place, figure) for place, figure in enumerate(figures) if figure is not None]
    newest = measured[-1][1]
    target = newest.at_least if newest.at_least is not None else newest.at_most
    ends = [value for _, figure in measured for value in (figure.low, figure.high)]
    scale = Scale.around(ends if target is None else [*ends, target])

    def x(place: float) -> float:
        return round(LEFT + (place + 0.5) / len(figures) * (WIDTH - LEFT - RIGHT), 1)

    cuts = [0, *(step.place for step in steps), len(measured)]
    values = [steps[0].before, *(step.after for step in steps)] if steps else []
    return Plot(
        scale=scale,
        points=[
            Point(x=x(place), y=scale.y(f.value), y_low=scale.y(f.low), y_high=scale.y(f.high), place=place)
            for place, f in measured
        ],
        levels=[
            Level(x_first=x(measured[start][0]), x_last=x(measured[stop - 1][0]), y=scale.y(value))
            for start, stop, value in zip(cuts, cuts[1:], values, strict=False)
        ],
        marks=[
            Mark(
                x=x((measured[step.place - 1][0] + measured[step.place][0]) / 2),
                label=change(step),
                is_better=(step.after > step.before) == newest.higher_is_better,
                anchor="start" if measured[step.place][0] < len(figures) / 2 else "end",
            )
            for step in steps
        ],
        target=None if target is None else scale.y(target),
    )


def change(step: Step) -> str:
    """Return the size of a step relative to the value before it: in per cent, or as a factor if it is large."""
    if step.before <= 0 or step.after <= 0:
        return "changed"
    factor = step.after / step.before
    if factor >= 2:
        return f"{factor:.1f}\N{MULTIPLICATION SIGN}"
    return f"{100 * (factor - 1):+.{1 if abs(factor - 1) < 0.1 else 0}f} %".replace("-", "\N{MINUS SIGN}")
