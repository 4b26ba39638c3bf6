"""What a prediction is worth: small groups of related metrics, one file each, found by their names.

A module of this package has a tuple ``METRICS`` of :class:`Metric`; :mod:`qpibench.evaluation.metrics.relative_l2` is
an example. A metric measures every image (:class:`PerImage`, from a :class:`Case`) and makes one number of
them. Its label, unit, direction and bounds are those that every table, page and schema shows.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench import registry
from qpibench.errors import UsageError
from qpibench.grid import Grid

Images = NDArray[np.float64]
"""Images, (n, y, x)."""

Values = NDArray[np.float64]
"""One value per image, (n,)."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Some images, and what was predicted of them; what a metric does not use is None.

    Attributes
    ----------
    grid
        Pixels of all images.
    prediction
        (n, y, x) the predicted kernels.
    truth
        (n, y, x) the true kernels.
    observation
        (n, y, x) what was observed.
    position_nm
        (n, scatterer, 2) positions that a model may be told, padded with NaN.
    std
        (n, y, x) the standard deviations that were stated of the predicted pixels. Zeros for an image that was not
        answered, or whose deviations are missing or not finite.
    kernel_full
        (n, 2y-1, 2x-1) the predicted kernels on the lattice of offsets. Zeros as in ``std``.

    All arrays become float64. Where one that is asked for was left out, the properties raise ValueError.
    """

    grid: Grid
    prediction: NDArray[np.floating]
    truth: NDArray[np.floating] | None = None
    observation: NDArray[np.floating] | None = None
    position_nm: NDArray[np.float64] | None = None
    std: NDArray[np.floating] | None = None
    kernel_full: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        for name in ("prediction", "truth", "observation", "position_nm", "std", "kernel_full"):
            if (array := getattr(self, name)) is not None:
                object.__setattr__(self, name, np.asarray(array, dtype=np.float64))

    @property
    def known(self) -> Images:
        """The true kernels, of which there must be some."""
        if self.truth is None:
            raise ValueError("a metric measures against the truth, but uses says that it does not")
        return np.asarray(self.truth, dtype=np.float64)

    @property
    def error(self) -> Images:
        """Prediction minus truth, (n, y, x)."""
        return self.prediction - self.known


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """A column of numbers, one per image. Metrics that name the same column share it.

    Attributes
    ----------
    name
        Its name.
    label
        How reports call it; as its metric if empty.
    measure
        From a case to (n,) float64. A prediction that is finite gets a number; one that is not, no finite one. The
        value of an image does not depend on the others of its case.
    worse
        Which values are worse. An image without an answer has the worse of the value of predicting zeros and that of
        the entry's own worst image; its own value where the prediction has no part in the column (None).
    uses
        What it takes from a case beside ``grid`` and ``prediction``.
    """

    name: str
    label: str = ""
    measure: Callable[[Case], Values]
    worse: Literal["higher", "lower"] | None = "higher"
    uses: tuple[Literal["truth", "observation", "position_nm", "std", "kernel_full"], ...] = ("truth",)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number for many images.

    Attributes
    ----------
    name
        How results and tracks call it.
    label, unit
        How tables call it, and its unit; none if empty.
    description
        What it is, in a sentence.
    better
        The direction in which it improves.
    bounds
        Least and largest value; infinite where there is none.
    columns
        What it needs of every image.
    aggregation
        What is made of the columns. ``mean`` and ``share`` are means over images, the latter of zeros and ones;
        ``quantile`` is one of a column. Two columns make a ``ratio`` of their sums; ``coverage`` is one of counts, the
        first of those that the second counts.
    quantile
        Which one, between 0 and 1.
    of
        From the column to what is aggregated, image by image; the column itself if None.
    on_board
        Whether tables of standings have a column for it.
    at_most, square_at_most
        Names of metrics that it, or its square, is never larger than, on any images.
    counts_failures
        Whether every image without an answer is among those whose share it is.
    """

    name: str
    label: str
    unit: str = ""
    description: str
    better: Literal["higher", "lower"]
    bounds: tuple[float, float] = (0.0, math.inf)
    columns: tuple[PerImage, ...]
    aggregation: Literal["mean", "share", "quantile", "ratio", "coverage"] = "mean"
    quantile: float | None = None
    of: Callable[[Values], ArrayLike] | None = None
    on_board: bool = True
    at_most: str | None = None
    square_at_most: str | None = None
    counts_failures: bool = False

    def __post_init__(self) -> None:
        if len(self.columns) != (2 if self.aggregation in ("ratio", "coverage") else 1):
            raise ValueError(f"metric '{self.name}': {len(self.columns)} columns do not make a {self.aggregation}")
        if (self.quantile is None) == (self.aggregation == "quantile"):
            raise ValueError(f"metric '{self.name}': quantile {self.quantile} does not fit a {self.aggregation}")

    @property
    def is_mean(self) -> bool:
        """Whether it is a mean over images, so that those of groups add up and images can be paired."""
        return self.aggregation in ("mean", "share")

    @property
    def best(self) -> float:
        """The bound that a perfect prediction has."""
        return self.bounds[self.better == "higher"]

    @property
    def head(self) -> str:
        """Label and unit, for the head of a column."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def sentence(self) -> str:
        """The description with unit, bounds and direction."""
        low, high = self.bounds
        unit = f" {self.unit}" if self.unit else ""
        if math.isinf(high):
            ends = "" if math.isinf(low) else f", at least {low:g}{unit}"
        else:
            ends = f", at most {high:g}{unit}" if math.isinf(low) else f", from {low:g} to {high:g}{unit}"
        return f"{self.description} {'More' if self.better == 'higher' else 'Less'} is better{ends}."


def all_metrics() -> dict[str, Metric]:
    """Every metric by its name, by file and in the order of the files."""
    package = sys.modules[__name__]
    found: dict[str, Metric] = {}
    columns: dict[str, PerImage] = {}
    for group in registry.names(package):
        for metric in registry.load(package, group, "group of metrics").METRICS:
            if metric.name in found:
                raise ValueError(f"two metrics are called '{metric.name}'")
            found[metric.name] = metric
            for column in metric.columns:
                if columns.setdefault(column.name, column) != column:
                    raise ValueError(f"two columns of metrics are called '{column.name}'")
    return found


def find_metrics(names: Iterable[str] | None = None) -> tuple[Metric, ...]:
    """Metrics by their names, in that order; all of them if None.

    Raises
    ------
    UsageError
        If there is none of a name.
    """
    known = all_metrics()
    if names is None:
        return tuple(known.values())
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in known:
            raise UsageError(f"There is no metric '{name}'; known: {', '.join(known)}.")
    return tuple(known[name] for name in names)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of metrics, each once, in the order of :func:`all_metrics`, those that are not known last."""
    given = dict.fromkeys(names)
    known = all_metrics()
    return (*(name for name in known if name in given), *sorted(name for name in given if name not in known))


def on_board(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that tables of standings have a column for, each once, in the order of :func:`all_metrics`."""
    known = all_metrics()
    return tuple(name for name in in_order(names) if name in known and known[name].on_board)


def value_range(images: NDArray[Any]) -> Values:
    """Range R of every image, (n,): largest minus smallest value; ``|t|`` where it is constant, and 1 where zero."""
    low, high = images.min(axis=(1, 2)), images.max(axis=(1, 2))
    span = np.where(high > low, high - low, np.abs(high))
    return np.where(span > 0, span, 1.0)
