"""Counts in sentences."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun, whose plural has an s or is told.

    Examples
    --------
    >>> counted(1, "scatterer"), counted(1200, "scatterer"), counted(0, "bias", "biases")
    ('1 scatterer', '1,200 scatterers', '0 biases')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def agreeing(count: int, singular: str, plural: str) -> str:
    """Return the word that agrees with a count.

    Examples
    --------
    >>> agreeing(1, "is", "are"), agreeing(2, "is", "are")
    ('is', 'are')
    """
    return singular if count == 1 else plural
