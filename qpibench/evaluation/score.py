"""Scores predictions: the result of a predictions file. It runs no code of the user."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qpibench import __version__
from qpibench.errors import InvalidDataError
from qpibench.evaluation.environment import environment
from qpibench.evaluation.facts import applicable
from qpibench.evaluation.floor import measure_floor
from qpibench.evaluation.image_scores import ImageScores, Progress, score_images
from qpibench.evaluation.median_image import MedianImage, median_image
from qpibench.evaluation.metrics import Metric, find_metrics
from qpibench.evaluation.prediction_record import Record
from qpibench.evaluation.predictions import Predictions, open_predictions
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

SCATTERER_EDGES = (0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Largest number of scatterers of each bin of the breakdown; equal for all releases, so that bins are comparable."""

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
            measured = applicable(chosen, opened, release, task)
            if primary not in {metric.name for metric in measured}:
                raise InvalidDataError(
                    f"Predictions file '{path}', task '{task}': the metric '{primary}' ranks, and cannot be measured,"
                    " as the file lacks an array that it uses, or it has no meaning for this release."
                )
            images = score_images(opened, release, task, metrics=measured, progress=_shifted(progress, done, total))
            done += len(images)
            parts[task] = PartResult(
                release=release_record(release),
                family=family_name(release.spec),
                task=task,
                view=record.view,
                map_mode=record.map_mode,
                told_species=record.told_species,
                failure=_failure(record),
                floor=measure_floor(opened, release, images, measured),
                median_image=_median_image(opened, release, task, images, measured, primary),
                predictions_sha256=predictions_sha256,
                predict_seconds=record.task_seconds.get(task) or None,  # 0 if fit failed
                threads=record.threads,
                prediction_run=record.run,
                **aggregate(images, measured, primary=primary, n_available=len(release.split(task, "test"))),
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
    columns = {name: values[order] for name, values in images.of_kernels.items()}
    # A ratio over no image, such as that of the images with a peak, has no value.
    statistics = {
        metric.name: statistic_of(metric, columns)
        for metric in metrics
        if len(metric.columns) == 1 or columns[metric.columns[1].name].any()
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
