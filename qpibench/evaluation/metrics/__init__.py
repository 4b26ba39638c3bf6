"""Metrics: small groups of related metrics, one file each, found by file name.

A module of this package defines a tuple ``METRICS`` of :class:`Metric`; :mod:`qpibench.evaluation.metrics.relative_l2`
is an example. A metric computes values for every image of a :class:`Case` (:class:`PerImage`) and aggregates them to
one number. Every table, page and schema takes label, unit, direction and bounds from the metric.
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

Used = Literal[
    "truth",
    "observation",
    "position_nm",
    "std",
    "kernel_full",
    "wavevector",
    "fold",
    "bound",
    "species",
    "told_species",
]
"""Arrays of a case that a metric may use besides the prediction."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Images with their predictions; arrays that no metric uses are None.

    Attributes
    ----------
    grid
        Pixels of predictions and true kernels.
    image_grid
        Pixels of the observations, of which those of the kernels may be the central ones; ``grid`` if None.
    prediction
        (n, y, x) the predicted kernels.
    truth
        (n, y, x) the true kernels.
    observation
        (n, y, x) the observations, on ``image_grid``.
    position_nm
        (n, scatterer, 2) positions that a model may be told, padded with NaN.
    std
        (n, y, x) the stated standard deviations of the predicted pixels. Zeros for an image without a prediction, or
        whose deviations are missing or not finite.
    kernel_full
        (n, 2y-1, 2x-1) the predicted kernels on ``image_grid.offsets``. Zeros as in ``std``.
    core_nm
        Radius of the core around the scatterer, which some metrics leave out; 0 for kernels without one.
    shift_nm
        Two standard deviations of the told positions about the true ones, along each axis; 0 if they are exact.
    wavevector
        (n,) length of the wavevector q of the true kernel's ripples by its formula, rad/nm, 2 pi included; NaN where
        the formula gives none.
    fold
        (n,) rotational symmetry of the true kernel: 2, 3, 4 or 6; 0 for total symmetry; -1 where it is not known.
    bound
        (n,) the Cramer-Rao bound: the least variance of an unbiased estimate of a pixel of the kernel whose formula is
        known, mean over the pixels; NaN where it is not known, infinite where the image is ill-conditioned.
    species, told_species
        (n, scatterer) int: predicted and true species of the scatterer at each told position, 0 or 1, otherwise -1; in
        images with two species, of whose kernels the other arrays are one.

    All arrays except fold and species become float64. A property whose array is None raises ValueError.
    """

    grid: Grid
    prediction: NDArray[np.floating]
    truth: NDArray[np.floating] | None = None
    observation: NDArray[np.floating] | None = None
    position_nm: NDArray[np.float64] | None = None
    std: NDArray[np.floating] | None = None
    kernel_full: NDArray[np.floating] | None = None
    core_nm: float = 0.0
    shift_nm: float = 0.0
    wavevector: NDArray[np.float64] | None = None
    fold: NDArray[np.integer] | None = None
    bound: NDArray[np.float64] | None = None
    image_grid: Grid | None = None
    species: NDArray[np.integer] | None = None
    told_species: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        arrays = ("prediction", "truth", "observation", "position_nm", "std", "kernel_full", "wavevector", "bound")
        for name in arrays:
            if (array := getattr(self, name)) is not None:
                object.__setattr__(self, name, np.asarray(array, dtype=np.float64))

    @property
    def known(self) -> Images:
        """The true kernels; ValueError if there are none."""
        if self.truth is None:
            raise ValueError("a metric measures against the truth, but uses says that it does not")
        return np.asarray(self.truth, dtype=np.float64)

    @property
    def stated(self) -> Images:
        """The stated standard deviations; ValueError if there are none."""
        if self.std is None:
            raise ValueError("a metric measures stated deviations, but uses says that it does not")
        return np.asarray(self.std, dtype=np.float64)

    @property
    def least(self) -> Values:
        """The Cramer-Rao bounds; ValueError if there are none."""
        if self.bound is None:
            raise ValueError("a metric measures against the bound, but uses says that it does not")
        return self.bound

    @property
    def error(self) -> Images:
        """Prediction minus truth, (n, y, x)."""
        return self.prediction - self.known


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """A column of values, one per image. Metrics that name the same column share it.

    Attributes
    ----------
    name
        Name of the column.
    label
        Label in reports; that of the metric if empty.
    measure
        Function from a case to (n,) float64. A finite prediction gets a finite value, any other prediction does not.
        The value of an image does not depend on the other images of the case.
    worse
        The direction of worse values. A failed image gets the worse of two values: that of predicting zeros, and that
        of the entry's own worst image. None if the column does not depend on the prediction; a failed image then keeps
        its own value.
    uses
        Arrays of a case that it uses besides ``grid`` and ``prediction``.
    """

    name: str
    label: str = ""
    measure: Callable[[Case], Values]
    worse: Literal["higher", "lower"] | None = "higher"
    uses: tuple[Used, ...] = ("truth",)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number for many images.

    Attributes
    ----------
    name
        Name in results and tracks.
    label, unit
        Label in tables, and unit; empty if dimensionless.
    description
        Definition in one sentence.
    better
        Direction of improvement.
    nominal
        The best value if that is neither the highest nor the lowest, such as the level of a coverage; nearer is better.
    bounds
        Smallest and largest possible value; infinite where there is none.
    columns
        Per-image values that the metric aggregates.
    aggregation
        ``mean`` is a mean over images, ``share`` a mean of zeros and ones, ``quantile`` a quantile of a column.
        ``ratio`` divides the sum of the first column by that of the second, and ``root_ratio`` is its square root.
        ``coverage`` is a ratio of counts, where the first column counts a part of what the second counts.
    quantile
        Level of the quantile, between 0 and 1.
    of
        Function of the column, image by image, whose values are aggregated; None for the column itself.
    on_board
        Whether tables of standings show the metric.
    ranks
        Whether it may be the primary metric of a cell, which ranks entries. False for a ratio over a part of the
        images: it has no value for a group of images without that part.
    at_most, square_at_most
        Names of metrics that bound this metric, or its square, from above on any set of images.
    counts_failures
        Whether every failed image counts as 1 in this share.
    """

    name: str
    label: str
    unit: str = ""
    description: str
    better: Literal["higher", "lower"]
    bounds: tuple[float, float] = (0.0, math.inf)
    columns: tuple[PerImage, ...]
    nominal: float | None = None
    aggregation: Literal["mean", "share", "quantile", "ratio", "root_ratio", "coverage"] = "mean"
    quantile: float | None = None
    of: Callable[[Values], ArrayLike] | None = None
    on_board: bool = True
    ranks: bool = True
    at_most: str | None = None
    square_at_most: str | None = None
    counts_failures: bool = False

    def __post_init__(self) -> None:
        if len(self.columns) != (2 if self.aggregation in ("ratio", "root_ratio", "coverage") else 1):
            raise ValueError(f"metric '{self.name}': {len(self.columns)} columns do not make a {self.aggregation}")
        if (self.quantile is None) == (self.aggregation == "quantile"):
            raise ValueError(f"metric '{self.name}': quantile {self.quantile} does not fit a {self.aggregation}")

    @property
    def is_mean(self) -> bool:
        """Whether the metric is a mean over images; only then do groups add up and images form pairs."""
        return self.aggregation in ("mean", "share")

    @property
    def is_share(self) -> bool:
        """Whether it counts: a mean of zeros and ones over images or pixels."""
        return self.aggregation in ("share", "coverage")

    @property
    def is_of_images(self) -> bool:
        """Whether it describes the images and not the predictions: it is the same for every entry."""
        return all(column.worse is None for column in self.columns)

    @property
    def always_applies(self) -> bool:
        """Whether any predictions of any release can be measured: no column uses more than the true kernel."""
        return all({"truth"}.issuperset(column.uses) for column in self.columns)

    @property
    def best(self) -> float:
        """The value of a perfect prediction."""
        return self.bounds[self.better == "higher"] if self.nominal is None else self.nominal

    @property
    def head(self) -> str:
        """Label and unit, as the heading of a column."""
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
        direction = "More" if self.better == "higher" else "Less"
        if self.nominal is not None:
            direction = f"Nearer to {self.nominal:g}"
        return f"{self.description} {direction} is better{ends}."


def all_metrics() -> dict[str, Metric]:
    """Return every metric by name, sorted by file and in the order within each file."""
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
    """Return the named metrics in the given order; all metrics if None.

    Raises
    ------
    UsageError
        If a name is unknown.
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
    """Return distinct names of metrics in the order of :func:`all_metrics`, unknown names last."""
    given = dict.fromkeys(names)
    known = all_metrics()
    return (*(name for name in known if name in given), *sorted(name for name in given if name not in known))


def on_board(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names that tables of standings show, in the order of :func:`all_metrics`."""
    known = all_metrics()
    return tuple(name for name in in_order(names) if name in known and known[name].on_board)


def value_range(images: NDArray[Any]) -> Values:
    """Return the range R of every image, (n,): largest minus smallest value; ``|t|`` if constant, 1 if zero."""
    low, high = images.min(axis=(1, 2)), images.max(axis=(1, 2))
    span = np.where(high > low, high - low, np.abs(high))
    return np.where(span > 0, span, 1.0)
