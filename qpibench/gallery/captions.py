"""Texts of a gallery: values of columns and settings with their units, in the words of their declarations."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from qpibench.columns import Column
from qpibench.corruptions import Corruption


def value_text(name: str, value: float, units: str) -> str:
    """A value with its name and unit.

    Examples
    --------
    >>> value_text("k", 0.8149, "rad/nm"), value_text("file_id", 2081934123.0, "1")
    ('k = 0.815 rad/nm', 'file_id = 2081934123')
    """
    number = f"{value:.0f}" if value.is_integer() else f"{value:.3g}"
    return f"{name} = {number}" + ("" if units in ("", "1") else f" {units}").replace("^2", "²")


def row_texts(columns: Sequence[Column], values: Mapping[str, NDArray[Any]], row: int) -> list[str]:
    """Values of one row in these columns; those that are absent, and columns per scatterer, are left out."""
    found = [(column, values[column.name][row]) for column in columns if values[column.name].ndim == 1]
    return [
        value_text(column.name, float(value), column.units)
        for column, value in found
        if not math.isnan(value) and value != column.absent
    ]


def constant_columns(columns: Sequence[Column], values: Mapping[str, NDArray[Any]]) -> list[Column]:
    """The columns with one value, or none, in all rows."""
    return [column for column in columns if (rows := values[column.name]).ndim == 1 and _is_constant(rows)]


def _is_constant(rows: NDArray[Any]) -> bool:
    return bool(np.array_equal(rows, np.full_like(rows, rows[0]), equal_nan=rows.dtype.kind == "f"))


def settings_text(settings: BaseModel) -> str:
    """The settings of a corruption, without those that are not given."""
    fields = settings.model_dump(exclude_none=True).items()
    return ", ".join(f"{name} = {_setting(value)}" for name, value in fields)


def _setting(value: Any) -> str:
    if isinstance(value, tuple):
        low, high = value
        return _setting(low) if low == high else f"{_setting(low)} to {_setting(high)}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def summary(corruption: Corruption) -> str:
    """The first sentence of a corruption's docstring."""
    text = " ".join((corruption.__doc__ or "").split("\n\n")[0].split())
    return text if text.endswith(".") else f"{text}."


def wrapped(texts: Sequence[str], width: int) -> str:
    """Texts separated by commas, in lines of at most this many characters, none of them broken."""
    lines: list[str] = []
    for place, text in enumerate(texts):
        part = text + ("," if place < len(texts) - 1 else "")
        if lines and len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return "\n".join(lines)


def filled(text: str, width: int) -> str:
    """A text in lines of at most this many characters."""
    return textwrap.fill(text, width)


def shorten(text: str, width: int) -> str:
    """A text cut to at most this many characters.

    Examples
    --------
    >>> shorten("mini", 9), shorten("mini+seed=123456", 9)
    ('mini', 'mini+see…')
    """
    return text if len(text) <= width else f"{text[: width - 1]}…"
