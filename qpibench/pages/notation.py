"""Formats numbers, intervals and counts for pages and tables, with few significant digits, and texts for figures."""

from __future__ import annotations

import math
from typing import Protocol

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Bounded(Protocol):
    """A value with its confidence interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def number(value: float) -> str:
    """Format a number with three significant digits; below 0.001 and from 100,000 on with a power of ten.

    Examples
    --------
    >>> number(0.07312), number(31.24), number(0.0)
    ('0.0731', '31.2', '0')
    """
    return _print([value], scale=abs(value), digits=abs(value))[0] + _power(abs(value))


def interval(score: Bounded) -> tuple[str, str]:
    """Format a score and its interval with the same number of decimals and the same power of ten.

    The largest of the three numbers determines the power. The score has three significant digits, unless it is so much
    smaller than its interval that they would say nothing.

    Examples
    --------
    >>> from qpibench.evaluation.result import Interval
    >>> interval(Interval(value=0.0731, low=0.0702, high=0.0759))
    ('0.0731', '[0.0702, 0.0759]')
    """
    largest = max(abs(score.value), abs(score.low), abs(score.high))
    digits = abs(score.value) if 10 * abs(score.value) >= largest else largest
    value, low, high = _print([score.value, score.low, score.high], scale=largest, digits=digits)
    power = _power(largest)
    return value + (power if score.value else ""), f"[{low}, {high}]{power}"


def whole(count: int) -> str:
    """Format a count with commas between thousands.

    Examples
    --------
    >>> whole(10000)
    '10,000'
    """
    return f"{count:,}"


def span(least: int, most: int) -> str:
    """Format a range of counts.

    Examples
    --------
    >>> span(2, 5), span(1, 1)
    ('2–5', '1')
    """
    return str(most) if least == most else f"{least}\N{EN DASH}{most}"


def decade(exponent: int) -> str:
    """Format a power of ten.

    Examples
    --------
    >>> decade(-3), decade(0)
    ('10⁻³', '1')
    """
    return "10" + str(exponent).translate(_SUPERSCRIPTS) if exponent else "1"


def _exponent(scale: float) -> int:
    return math.floor(math.log10(scale)) if scale > 0 else 0


def _needs_power(scale: float) -> bool:
    return scale > 0 and not 1e-3 <= scale < 1e5


def _power(scale: float) -> str:
    return "\N{MULTIPLICATION SIGN}" + decade(_exponent(scale)) if _needs_power(scale) else ""


def _print(values: list[float], *, scale: float, digits: float) -> list[str]:
    """Print numbers in units of the power of ten of `scale`; a number as large as `digits` gets three digits."""
    exponent = _exponent(scale) if _needs_power(scale) else 0
    decimals = max(0, 2 + exponent - _exponent(digits))
    texts = [f"{value / 10.0**exponent:z.{decimals}f}" if value else "0" for value in values]
    return [text.replace("-", "\N{MINUS SIGN}") for text in texts]


def plain(text: str) -> str:
    """Return a text for Matplotlib, which reads what is between dollar signs as a formula."""
    return text.replace("$", r"\$")
