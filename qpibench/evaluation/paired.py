"""Paired comparison of two methods on the same images, with intervals.

The errors of two methods are correlated, because some images are hard for both. Their difference, image by image, is
therefore more certain than either mean, and overlapping intervals may hide a certain difference. The comparison gives
the mean over images of A's value minus B's, and the ratio of the means. It accepts any metric that is a mean over
images.

*Images.* The interval of the per-image differences is that of :mod:`qpibench.evaluation.statistics`: replicates draw
kernels, then their images. Failed images count as in a score.

*Seeds.* Several files of one side are runs of one method with different seeds. Their errors are averaged image by
image. The average depends on the seeds, so their spread belongs to the uncertainty of the method. Two to five seeds are
too few to draw with replacement: three have ten different resamples, with two thirds of the variance. Instead the
interval of the images is combined with Welch's t interval of the difference of the seeds: each half width is the root
of the sum of both squares (the method of variance estimates recovery: Zou and Donner, Stat. Med. 27, 1693 (2008)). With
20 kernels, 95 % intervals cover in 95 to 97 % of the synthetic cases of the tests with one, three or five seeds per
side, and in 99 % with two. A single file gives no spread of seeds; the interval then holds for that trained model and
not for its method.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import stdtrit

from qpibench import __version__
from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.facts import applicable
from qpibench.evaluation.image_scores import ImageScores, score_images
from qpibench.evaluation.metrics import Metric, all_metrics, find_metrics, on_board
from qpibench.evaluation.predictions import Predictions, open_predictions
from qpibench.evaluation.result import (
    PRIMARY_METRIC,
    Interval,
    IntervalSettings,
    ReleaseRecord,
)
from qpibench.evaluation.result_schema import with_metrics
from qpibench.evaluation.score import release_record
from qpibench.evaluation.statistics import DEFAULT_SETTINGS, Statistic, bootstrap_intervals, statistic_of
from qpibench.records import Closed, Count, Finite, Positive, Sha256, Text

if TYPE_CHECKING:
    from qpibench.release import Release

PAIRED_SETTINGS = DEFAULT_SETTINGS.model_copy(
    update={"method": f"paired {DEFAULT_SETTINGS.method}; the spread of seeds joined by Welch's t"}
)

Errors = NDArray[np.float64]
Progress = Callable[[int, int], None]


class ComparedFile(Closed):
    """One predictions file of a side."""

    name: Text = Field(description="Name of the entry; 'unnamed' if the predictions do not say.")
    view: Text = Field(description="What the entry was granted; 'unknown' if the predictions do not say.")
    cell: Text | None = Field(default=None, description="Track and cell that were asked; null outside of tracks.")
    stopped: bool = Field(description="Whether the entry stopped before it had predicted every image.")
    predictions_sha256: Sha256 = Field(description="Hash of the predictions.")


class PairedMetric(Closed):
    """One metric of both sides on the same images."""

    a: tuple[Finite, ...] = Field(description="Mean over images of each of A's files.", min_length=1)
    b: tuple[Finite, ...] = Field(description="Mean over images of each of B's files.", min_length=1)
    difference: Interval = Field(description="Mean over images of A's value minus B's, both averaged over their files.")
    ratio: Interval | None = Field(
        description="A's mean over B's; null unless B's value of every image, averaged over the files, is above 0."
    )
    lower: Literal["A", "B"] | None = Field(
        description="The side whose value is lower, if the interval of the difference excludes 0; else null."
    )


class PairedTask(Closed):
    """Both sides on the images of one task."""

    n_images: Positive = Field(description="Images that were compared.")
    n_available: Positive = Field(description="Images in the task's test role.")
    n_kernels: Positive = Field(description="Different kernels among the images.")
    n_failed_a: tuple[Count, ...] = Field(description="Images without a finite prediction in each of A's files.")
    n_failed_b: tuple[Count, ...] = Field(description="Images without a finite prediction in each of B's files.")
    metrics: dict[Text, PairedMetric] = Field(description="What was compared, by name.", min_length=1)


class Comparison(Closed):
    """Two methods on the same images of one release."""

    schema_version: Literal[2] = Field(description="Version of this schema.")
    evaluator_version: Text = Field(description="Version of qpibench that compared.")
    release: ReleaseRecord = Field(description="The data.")
    a: tuple[ComparedFile, ...] = Field(description="One side: files of one method that differ by seed.", min_length=1)
    b: tuple[ComparedFile, ...] = Field(description="The other side.", min_length=1)
    intervals: IntervalSettings = Field(description="How low and high were made.")
    tasks: dict[Text, PairedTask] = Field(description="The comparison by task.", min_length=1)


METRICS = (PRIMARY_METRIC, "mae", "mae_published")
"""Metrics compared outside of tracks by default; the first one ranks."""


def comparison_schema() -> dict[str, Any]:
    """JSON Schema of a comparison, with every metric there is."""
    return with_metrics(Comparison.model_json_schema(), "PairedMetric")


def compare(
    a: Sequence[str | Path],
    b: Sequence[str | Path],
    release: Release,
    *,
    tasks: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare the predictions of two methods, image by image.

    Parameters
    ----------
    a, b
        Predictions files; several of a side are runs of one method with different seeds.
    release
        The release that was predicted.
    tasks
        Tasks to compare; by default every task that all files contain.
    metrics
        Names of the metrics. By default, the cell's metrics on the board that are means over images, the ranking one
        first; :data:`METRICS` outside of tracks, for files of different cells, or if the cell has no such metric.
    progress
        Called with the number of images measured and their total.

    Raises
    ------
    UsageError
        If a file does not exist, a side names the same predictions twice, a file lacks a task, or a metric is unknown,
        no mean over images, or does not apply to the files or the release.
    InvalidDataError
        If a file is no predictions file of this release, or the files contain different images, or kernels of
        different pixels.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(open_predictions(path, release)) for path in (*a, *b)]
        compared = [_compared_file(file) for file in files]
        for side, start, stop in (("A", 0, len(a)), ("B", len(a), len(files))):
            _check_side(side, files[start:stop], compared[start:stop])
        _check_pixels(files)
        asked = _common_tasks(files, tasks)
        for task in asked:
            _check_images(files, task)
        chosen = _measurable(_means(metrics or _of_cell(files)), files, release, asked, required=metrics or ())
        total = sum(len(file.index(task)) for file in files for task in asked)
        results, done = {}, 0
        for task in asked:
            images = []
            for file in files:
                images.append(score_images(file, release, task, metrics=chosen))
                done += len(images[-1])
                if progress is not None:
                    progress(done, total)
            results[task] = _paired_task(
                chosen, images[: len(a)], images[len(a) :], n_available=len(release.split(task, "test"))
            )
    return Comparison(
        schema_version=2,
        evaluator_version=__version__,
        release=release_record(release),
        a=tuple(compared[: len(a)]),
        b=tuple(compared[len(a) :]),
        intervals=PAIRED_SETTINGS,
        tasks=results,
    )


def compare_errors(
    a: Mapping[str, Errors],
    b: Mapping[str, Errors],
    kernel: NDArray[np.integer],
    *,
    shares: Collection[str] = (),
    settings: IntervalSettings = PAIRED_SETTINGS,
) -> dict[str, PairedMetric]:
    """Compare the values of two methods, metric by metric; all metrics use the same replicates.

    Parameters
    ----------
    a, b
        Values of both by metric, each (seed, image) with the same images and any number of seeds.
    kernel
        (image,) the kernel that each image shows.
    shares
        Metrics whose values are zeros and ones, or their means over seeds.
    settings
        Level, number of replicates and seed of the draws.
    """
    means = {name: (a[name].mean(axis=0), b[name].mean(axis=0)) for name in a}
    # The difference divided by B's error is the ratio minus 1, so equal errors give a ratio of exactly 1.
    statistics = {
        f"difference {name}": Statistic(of_a - of_b, share=name in shares, signed=True)
        for name, (of_a, of_b) in means.items()
    }
    statistics |= {
        f"ratio {name}": Statistic(of_a - of_b, over=of_b) for name, (of_a, of_b) in means.items() if (of_b > 0).all()
    }
    intervals = bootstrap_intervals(statistics, kernel, settings=settings)
    compared = {}
    for name, (_, of_b) in means.items():
        seeds_a, seeds_b = a[name].mean(axis=1), b[name].mean(axis=1)
        difference = _with_seeds(intervals[f"difference {name}"], seeds_a, seeds_b, settings.level)
        ratio = None
        if (excess := intervals.get(f"ratio {name}")) is not None:
            above_1 = _with_seeds(
                excess, seeds_a / of_b.mean(), (1 + excess.value) * seeds_b / of_b.mean(), settings.level
            )
            # If all errors are 0, the excess is -1 up to rounding, and rounding may take the ratio below 0.
            least = 0.0 if (a[name] >= 0).all() else -np.inf
            value, low, high = (float(max(least, 1 + end)) for end in (above_1.value, above_1.low, above_1.high))
            ratio = Interval(value=value, low=low, high=high)
        lower: Literal["A", "B"] | None = "A" if difference.high < 0 else "B" if difference.low > 0 else None
        compared[name] = PairedMetric(
            a=tuple(seeds_a.tolist()), b=tuple(seeds_b.tolist()), difference=difference, ratio=ratio, lower=lower
        )
    return compared


def _with_seeds(interval: Interval, a: Errors, b: Errors, level: float) -> Interval:
    """Widen an interval of a difference by the spread of the seeds, given the mean of every seed."""
    spread = [(seeds.var(ddof=1) / len(seeds), len(seeds) - 1) for seeds in (a, b) if len(seeds) > 1]
    variance = sum(part for part, _ in spread)
    if not variance > 0:
        return interval
    freedom = variance**2 / sum(part**2 / free for part, free in spread)
    half = stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance)
    return Interval(
        value=interval.value,
        low=float(interval.value - np.hypot(interval.value - interval.low, half)),
        high=float(interval.value + np.hypot(interval.high - interval.value, half)),
    )


def _of_cell(files: Sequence[Predictions]) -> tuple[str, ...]:
    """Return the metrics compared by default."""
    cells = {None if file.record is None else file.record.cell for file in files}
    cell = cells.pop()
    if cell is None or cells:
        return METRICS
    known = all_metrics()
    names = dict.fromkeys((cell.primary, *on_board(cell.metrics)))
    return tuple(name for name in names if name in known and known[name].is_mean) or METRICS


def _means(names: Sequence[str]) -> tuple[Metric, ...]:
    chosen = find_metrics(names)
    for metric in chosen:
        if not metric.is_mean:
            means = ", ".join(name for name, each in all_metrics().items() if each.is_mean)
            raise UsageError(f"Metric '{metric.name}' is no mean over images and cannot be paired; choose of {means}.")
    return chosen


def _measurable(
    metrics: Sequence[Metric],
    files: Sequence[Predictions],
    release: Release,
    tasks: Sequence[str],
    *,
    required: Sequence[str],
) -> tuple[Metric, ...]:
    """Return the metrics that apply to all files and tasks; UsageError if a required one does not."""
    names = {metric.name for metric in metrics}
    for file in files:
        for task in tasks:
            names &= {metric.name for metric in applicable(metrics, file, release, task)}
    for name in required:
        if name not in names:
            raise UsageError(
                f"Metric '{name}' cannot be compared: a file lacks an array that it uses, or it has no meaning for this"
                " release; choose another."
            )
    return tuple(metric for metric in metrics if metric.name in names) or find_metrics(METRICS)


def _paired_task(
    metrics: Sequence[Metric], a: Sequence[ImageScores], b: Sequence[ImageScores], *, n_available: int
) -> PairedTask:
    kernel = a[0].kernel[np.argsort(a[0].index)]
    return PairedTask(
        n_images=len(kernel),
        n_available=n_available,
        n_kernels=len(np.unique(kernel)),
        n_failed_a=tuple(int(images.failed.sum()) for images in a),
        n_failed_b=tuple(int(images.failed.sum()) for images in b),
        metrics=compare_errors(
            _values(metrics, a),
            _values(metrics, b),
            kernel,
            shares=[metric.name for metric in metrics if metric.is_share],
        ),
    )


def _values(metrics: Sequence[Metric], images: Sequence[ImageScores]) -> dict[str, Errors]:
    """Return the values of a side by metric, (file, image), in the order of the images' rows."""
    return {
        metric.name: np.stack(
            [statistic_of(metric, each.of_kernels).of(np.argsort(each.index)).values for each in images]
        )
        for metric in metrics
    }


def _compared_file(file: Predictions) -> ComparedFile:
    record = file.record
    return ComparedFile(
        name="unnamed" if record is None else record.model.name,
        view="unknown" if record is None else record.view,
        cell=None if record is None or record.cell is None else record.cell.label,
        stopped=record is not None and record.failure is not None,
        predictions_sha256=file.sha256(),
    )


def _check_side(side: str, files: Sequence[Predictions], compared: Sequence[ComparedFile]) -> None:
    if not files:
        raise UsageError(f"Side {side} has no predictions file; give one at least.")
    for first, second in combinations(range(len(files)), 2):
        if compared[first].predictions_sha256 == compared[second].predictions_sha256:
            raise UsageError(
                f"'{files[first].path}' and '{files[second].path}' of side {side} hold the same predictions; give every"
                " seed once."
            )


def _common_tasks(files: Sequence[Predictions], tasks: Sequence[str] | None) -> list[str]:
    if tasks:
        for task in tasks:
            for file in files:
                if task not in file.tasks:
                    raise UsageError(
                        f"'{file.path}' has no predictions for task '{task}'; it has {', '.join(file.tasks)}."
                    )
        return list(dict.fromkeys(tasks))
    common = [task for task in files[0].tasks if all(task in file.tasks for file in files)]
    if not common:
        found = "; ".join(f"'{file.path}' has {', '.join(file.tasks)}" for file in files)
        raise UsageError(f"There is no task that all files contain: {found}.")
    return common


def _check_pixels(files: Sequence[Predictions]) -> None:
    first = files[0].kernel_grid
    for file in files[1:]:
        if file.kernel_grid != first:
            sizes = " and ".join(f"{grid.nx} x {grid.ny}" for grid in (first, file.kernel_grid))
            raise InvalidDataError(
                f"'{files[0].path}' and '{file.path}' contain kernels of {sizes} pixels; compare files of one cell."
            )


def _check_images(files: Sequence[Predictions], task: str) -> None:
    first = np.sort(files[0].index(task))
    for file in files[1:]:
        index = np.sort(file.index(task))
        if not np.array_equal(first, index):
            raise InvalidDataError(
                f"'{files[0].path}' and '{file.path}' contain different images of task '{task}', {len(first):,} and"
                f" {len(index):,} with {len(np.intersect1d(first, index)):,} in common; predict both with the same"
                " --limit."
            )
