"""Scores predictions: computes the columns of every image, then the metrics. It runs no code of the user."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qpibench import __version__
from qpibench.errors import InvalidDataError
from qpibench.evaluation.environment import environment
from qpibench.evaluation.floor import measure_floor
from qpibench.evaluation.median_image import MedianImage, median_image
from qpibench.evaluation.metrics import Case, Metric, PerImage, find_metrics
from qpibench.evaluation.predictions import Predictions, Record, open_predictions
from qpibench.evaluation.result import (
    PRIMARY_METRIC,
    UNKNOWN_VIEW,
    CellResult,
    Failure,
    Group,
    IntervalSettings,
    ModelRecord,
    PartResult,
    ReleaseRecord,
    Result,
    Run,
)
from qpibench.evaluation.statistics import DEFAULT_SETTINGS, bootstrap_intervals, statistic_of
from qpibench.pages.notation import span
from qpibench.specs.columns import family_name

if TYPE_CHECKING:
    from qpibench.release import Release

Progress = Callable[[int, int], None]

SCATTERER_EDGES = (0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Largest number of scatterers of each bin of the breakdown; equal for all releases, so that bins are comparable."""

_BLOCK = 64  # images at once: in float64 they fit into the processor's cache

_NO_RECORD = Record(
    model=ModelRecord(name="unnamed", file_sha256=None, weights={}, knows=(), needs=(), trained_on=()),
    view=UNKNOWN_VIEW,
    map_mode=None,
    limit=None,
    seed=0,
    batch_size=1,
    failure=None,
    non_finite={},
    fit_seconds=None,
    task_seconds={},
    run=Run(seconds=None, peak_memory_bytes=None, environment={}),
)
"""Record used for a predictions file without one, written by another program."""


@dataclass(frozen=True, kw_only=True)
class ImageScores:
    """Measured values of every scored image of a task, in the order of the predictions file.

    Attributes
    ----------
    index
        (n,) int32: row of the release.
    kernel
        (n,) int32: its kernel.
    stratum
        (n,) int32: that of the kernel.
    stratum_labels
        Strata in words.
    n_scatterers
        (n,) int32.
    failed
        (n,) bool: whether the prediction is not finite.
    columns
        (n,) float64 under the name of each column. A failed image has the worse of the value of predicting zeros and
        that of the entry's worst image of the task (that of zeros if all failed).
    """

    index: NDArray[np.int32]
    kernel: NDArray[np.int32]
    stratum: NDArray[np.int32]
    stratum_labels: Mapping[int, str]
    n_scatterers: NDArray[np.int32]
    failed: NDArray[np.bool_]
    columns: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.index)


def score(
    predictions: str | Path,
    release: Release,
    *,
    name: str | None = None,
    view: str | None = None,
    metrics: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Score a predictions file.

    Parameters
    ----------
    predictions
        The file; it is streamed, so memory does not grow with it.
    release
        The release that was predicted.
    name, view
        Name of the entry and the view that it was shown, for predictions without a record.
    metrics
        Names of the metrics; by default those of the cell, and outside of tracks all.
    progress
        Called with the number of images measured and their total.

    Raises
    ------
    UsageError
        If there is no such file or metric.
    InvalidDataError
        If it is no predictions file of this release, or a kernel of the release is zero everywhere or not finite.
    """
    started = time.monotonic()
    path = Path(predictions)
    with open_predictions(path, release) as opened:
        record = opened.record or _without_record(name, view)
        asked = record.cell
        primary = PRIMARY_METRIC if asked is None else asked.primary
        if metrics is None and asked is not None and asked.metrics:
            metrics = asked.metrics
        chosen = find_metrics(None if metrics is None else (*metrics, primary))
        predictions_sha256 = opened.sha256()
        total = sum(len(opened.index(task)) for task in opened.tasks)
        parts: dict[str, PartResult] = {}
        done = 0
        for task in opened.tasks:
            images = score_images(opened, release, task, metrics=chosen, progress=_shifted(progress, done, total))
            done += len(images)
            parts[task] = PartResult(
                release=release_record(release),
                family=family_name(release.spec),
                task=task,
                view=record.view,
                map_mode=record.map_mode,
                failure=_failure(record),
                floor=measure_floor(opened, release, images, chosen),
                median_image=_median_image(opened, release, task, images, chosen, primary),
                predictions_sha256=predictions_sha256,
                predict_seconds=record.task_seconds.get(task) or None,  # 0 if fit failed
                threads=record.threads,
                prediction_run=record.run,
                **aggregate(images, chosen, primary=primary, n_available=len(release.split(task, "test"))),
            )
    return Result(
        schema_version=2,
        evaluator_version=__version__,
        status="failed" if record.failure else "complete",
        visibility="public",
        model=record.model,
        intervals=DEFAULT_SETTINGS,
        cells={
            task if asked is None else asked.cell: CellResult(
                record=asked, primary=primary, metrics=part.metrics, floor=part.floor, parts=(part,)
            )
            for task, part in parts.items()
        },
        scoring_run=Run(
            seconds=time.monotonic() - started, peak_memory_bytes=_peak_memory_bytes(), environment=environment()
        ),
    )


def score_images(
    predictions: Predictions,
    release: Release,
    task: str,
    *,
    metrics: Sequence[Metric],
    progress: Progress | None = None,
) -> ImageScores:
    """Measure every image of a task in a predictions file.

    Parameters
    ----------
    predictions
        An open predictions file of the release.
    release
        The release.
    task
        One of the file's tasks.
    metrics
        Metrics whose columns are measured.
    progress
        Called with the number of images measured and their total.

    Raises
    ------
    InvalidDataError
        If one of the true kernels is zero everywhere or not finite, or the release is damaged; see
        :meth:`~qpibench.release.Release.check`.
    """
    index = predictions.index(task)
    kernel = release.observation_kernel[index]
    measures = {column.name: column for metric in metrics for column in metric.columns}
    uses = {name for column in measures.values() for name in column.uses}
    fields = {"observation": "image", "position_nm": release.told_field}
    release.check(*(field for used, field in fields.items() if used in uses))
    if "truth" in uses:
        _check_truth(release.kernels.image, np.unique(kernel), release)
    failed = np.zeros(len(index), dtype=np.bool_)
    columns = {name: np.empty(len(index)) for name in measures}
    for start in range(0, len(index), _BLOCK):
        rows = slice(start, start + _BLOCK)
        case, failed[rows] = read_case(predictions, release, task, rows, uses=uses)
        for name, column in measures.items():
            columns[name][rows] = column.measure(case)
        if progress is not None:
            progress(min(start + _BLOCK, len(index)), len(index))
    if failed.any() and not failed.all():
        for name, column in measures.items():
            if column.worse is None:
                continue
            columns[name][failed] = _worse(column, columns[name][failed], columns[name][~failed])
    stratum = release.stratum[kernel]
    return ImageScores(
        index=index,
        kernel=kernel,
        stratum=stratum,
        stratum_labels={int(each): release.family.stratum_label(int(each)) for each in np.unique(stratum)},
        n_scatterers=release.read("observations/n_scatterers")[index],
        failed=failed,
        columns=columns,
    )


def read_case(
    predictions: Predictions, release: Release, task: str, rows: slice, *, uses: Collection[str]
) -> tuple[Case, NDArray[np.bool_]]:
    """Return a case of some images of a task, and which of them have no finite prediction.

    Parameters
    ----------
    predictions, release, task
        As in :func:`score_images`.
    rows
        Rows of the images within the task.
    uses
        Arrays to read besides the predicted kernels, see :class:`~qpibench.evaluation.metrics.PerImage`.

    Returns
    -------
    Case
        The images; predictions that are missing or not finite are replaced by zeros.
    (n,) bool
        Whether the prediction is missing or not finite.
    """
    index = predictions.index(task)[rows]
    predicted = predictions.kernel(task, rows).astype(np.float64)
    failed = np.asarray(~np.isfinite(predicted).all(axis=(1, 2)))
    predicted[failed] = 0
    ny, nx = release.grid.shape

    def stated(values: NDArray[np.float32] | None, shape: tuple[int, int]) -> NDArray[np.float64]:
        if values is None:
            return np.zeros((len(index), *shape))
        kept = values.astype(np.float64)
        kept[failed | ~np.isfinite(kept).all(axis=(1, 2))] = 0
        return kept

    case = Case(
        grid=release.grid,
        prediction=predicted,
        truth=release.kernels.image[release.observation_kernel[index]] if "truth" in uses else None,
        observation=release.image(index) if "observation" in uses else None,
        position_nm=release.told_position_nm(index) if "position_nm" in uses else None,
        std=stated(predictions.std(task, rows), (ny, nx)) if "std" in uses else None,
        kernel_full=(
            stated(predictions.kernel_full(task, rows), (2 * ny - 1, 2 * nx - 1)) if "kernel_full" in uses else None
        ),
    )
    return case, failed


def aggregate(
    images: ImageScores,
    metrics: Sequence[Metric],
    *,
    primary: str,
    n_available: int,
    settings: IntervalSettings = DEFAULT_SETTINGS,
) -> dict[str, Any]:
    """Summarise the columns of a task's images.

    The summary does not depend on the order of the images.

    Parameters
    ----------
    images
        Measured values of at least one image.
    metrics
        Metrics to compute.
    primary
        Name of the metric of the breakdowns.
    n_available
        Number of images in the task's test role.
    settings
        Settings of the intervals.

    Returns
    -------
    dict
        The fields of :class:`~qpibench.evaluation.result.PartResult` that come from the images.
    """
    order = np.argsort(images.index)
    kernel, stratum, n_scatterers = images.kernel[order], images.stratum[order], images.n_scatterers[order]
    statistics = {
        metric.name: statistic_of(metric, {name: values[order] for name, values in images.columns.items()})
        for metric in metrics
    }

    def group(chosen: NDArray[np.bool_], label: str, place: int) -> Group:
        ranking = {primary: statistics[primary].of(chosen)}
        return Group(
            label=label,
            order=place,
            n_images=int(chosen.sum()),
            n_kernels=len(np.unique(kernel[chosen])),
            metrics=bootstrap_intervals(ranking, kernel[chosen], settings=settings),
        )

    edges = zip((-1, *SCATTERER_EDGES), SCATTERER_EDGES, strict=False)
    bins = {(above + 1, most): (n_scatterers > above) & (n_scatterers <= most) for above, most in edges}
    return {
        "metrics": bootstrap_intervals(statistics, kernel, settings=settings),
        "n_images": len(images),
        "n_available": n_available,
        "subset": len(images) < n_available,
        "n_failed": int(images.failed.sum()),
        "n_kernels": len(np.unique(kernel)),
        "breakdowns": {
            "scatterers": tuple(
                group(chosen, span(least, most), least) for (least, most), chosen in bins.items() if chosen.any()
            ),
            "stratum": tuple(
                group(stratum == each, images.stratum_labels[int(each)], int(each)) for each in np.unique(stratum)
            ),
        },
    }


def _median_image(
    predictions: Predictions,
    release: Release,
    task: str,
    images: ImageScores,
    metrics: Sequence[Metric],
    primary: str,
) -> MedianImage | None:
    column = next(metric for metric in metrics if metric.name == primary).columns[0]
    errors = np.where(images.failed, np.nan, images.columns[column.name])
    return median_image(predictions, release, task, errors, lower_is_worse=column.worse == "lower")


def _worse(column: PerImage, of_zeros: NDArray[np.float64], finite: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of failed images, from the values of zeros and those of the images with a prediction."""
    worse, worst = (np.minimum, finite.min()) if column.worse == "lower" else (np.maximum, finite.max())
    values: NDArray[np.float64] = worse(of_zeros, worst)
    return values


def _check_truth(truth: NDArray[np.float32], kernels: NDArray[np.int32], release: Release) -> None:
    for kernel in kernels:
        if not np.isfinite(truth[kernel]).all() or not truth[kernel].any():
            raise InvalidDataError(
                f"Kernel {kernel} of release '{release.name}' is zero everywhere or not finite: an error relative to it"
                " has no meaning; make the release without it."
            )


def _shifted(progress: Progress | None, done: int, total: int) -> Progress | None:
    """Convert the progress within a task to the progress over all tasks."""
    return None if progress is None else lambda count, _: progress(done + count, total)


def release_record(release: Release) -> ReleaseRecord:
    """Return the record of a release for a result."""
    return ReleaseRecord(
        name=release.name,
        content_sha256=release.content_sha256,
        spec_sha256=release.spec.sha256,
        observation_count=release.observation_count,
        kernel_count=len(release.kernels),
        grid=release.grid,
    )


def _without_record(name: str | None, view: str | None) -> Record:
    model = _NO_RECORD.model.model_copy(update={"name": name or _NO_RECORD.model.name})
    return _NO_RECORD.model_copy(update={"model": model, "view": view or _NO_RECORD.view})


def _failure(record: Record) -> Failure | None:
    if record.failure is None:
        return None
    return Failure(kind=record.failure.kind, message=record.failure.message, task=record.failure.task)


def _peak_memory_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
