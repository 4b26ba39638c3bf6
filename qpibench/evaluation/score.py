"""From predictions to a result: the errors of every image, then their statistics. Runs no user's code."""

from __future__ import annotations

import hashlib
import resource
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qpibench import __version__
from qpibench.errors import InvalidDataError
from qpibench.evaluation import metrics
from qpibench.evaluation.environment import environment
from qpibench.evaluation.predictions import Predictions, Record, open_predictions
from qpibench.evaluation.result import (
    HIGHER_IS_BETTER,
    Failure,
    FoldGroup,
    Interval,
    IntervalSettings,
    Metrics,
    ModelRecord,
    ReleaseRecord,
    Result,
    Run,
    ScattererBin,
    TaskResult,
)
from qpibench.evaluation.statistics import DEFAULT_SETTINGS, Statistic, bootstrap_intervals

if TYPE_CHECKING:
    from qpibench.release import Release

Progress = Callable[[int, int], None]

ERRORS: Mapping[str, Callable[[metrics.Images, metrics.Images], metrics.PerImage]] = {
    "mae": metrics.absolute_error,
    "mse": metrics.squared_error,
    "rmse": metrics.root_mean_square_error,
    "mae_published": metrics.absolute_error_published,
    "mse_published": metrics.squared_error_published,
    "rmse_published": metrics.root_mean_square_error_published,
    "rel_l2": metrics.relative_l2,
    "ssim": metrics.structural_similarity,
    "psnr": metrics.peak_signal_to_noise,
}
"""What is measured of every image."""

SCATTERER_EDGES = (0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Most scatterers of each bin of the breakdown; the same for all releases, so that bins can be compared."""

_BLOCK = 64  # images at once: in float64 they fit into the processor's cache

_NO_RECORD = Record(
    model=ModelRecord(name="unnamed", file_sha256=None, weights={}, knows=(), needs=(), trained_on=()),
    view="unknown",
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
"""What stands in for the record of a predictions file that somebody else wrote."""


@dataclass(frozen=True, kw_only=True)
class ImageScores:
    """What was measured of every scored image of a task, in the order of the predictions file.

    Attributes
    ----------
    index
        (n,) int32: row of the release.
    kernel
        (n,) int32: its kernel.
    fold
        (n,) int32: rotational symmetry of the kernel; 0 for total symmetry, -1 where it is not known.
    n_scatterers
        (n,) int32.
    failed
        (n,) bool: whether the prediction is not finite.
    errors
        (n,) float64 under each name that was asked for. A failed image has the worse of the error of predicting zeros
        and that of the entry's worst image of the task (that of zeros if all failed).
    """

    index: NDArray[np.int32]
    kernel: NDArray[np.int32]
    fold: NDArray[np.int32]
    n_scatterers: NDArray[np.int32]
    failed: NDArray[np.bool_]
    errors: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.index)


def score(
    predictions: str | Path,
    release: Release,
    *,
    name: str | None = None,
    view: str | None = None,
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
        What the entry is called and was shown, where the predictions have no record that says so.
    progress
        Called with the number of images measured and their total.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If it is no predictions file of this release, or a kernel of the release is zero everywhere or not finite.
    """
    started = time.monotonic()
    path = Path(predictions)
    tasks = {}
    with open_predictions(path, release) as answers:
        record = answers.record or _without_record(name, view)
        total = sum(len(answers.index(task)) for task in answers.tasks)
        done = 0
        for task in answers.tasks:
            images = score_images(answers, release, task, progress=_shifted(progress, done, total))
            done += len(images)
            tasks[task] = aggregate(
                images,
                n_available=len(release.split(task, "test")),
                predict_seconds=record.task_seconds.get(task) or None,  # 0 if fit failed
            )
    with path.open("rb") as file:
        predictions_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Result(
        schema_version=1,
        evaluator_version=__version__,
        status="failed" if record.failure else "complete",
        failure=_failure(record),
        visibility="public",
        release=release_record(release),
        model=record.model,
        view=record.view,
        map_mode=record.map_mode,
        cell=record.cell,
        predictions_sha256=predictions_sha256,
        intervals=DEFAULT_SETTINGS,
        tasks=tasks,
        prediction_run=record.run,
        scoring_run=Run(
            seconds=time.monotonic() - started, peak_memory_bytes=_peak_memory_bytes(), environment=environment()
        ),
    )


def score_images(
    predictions: Predictions,
    release: Release,
    task: str,
    *,
    names: Collection[str] = tuple(ERRORS),
    progress: Progress | None = None,
) -> ImageScores:
    """Measure every answered image of a task.

    Parameters
    ----------
    predictions
        An open predictions file of the release.
    release
        The release.
    task
        One of the file's tasks.
    names
        What to measure, of :data:`ERRORS`.
    progress
        Called with the number of images measured and their total.

    Raises
    ------
    InvalidDataError
        If one of the true kernels is zero everywhere or not finite.
    """
    index = predictions.index(task)
    kernel = release.observation_kernel[index]
    truth = release.kernels.image
    _check_truth(truth, np.unique(kernel), release)
    failed = np.zeros(len(index), dtype=np.bool_)
    errors = {name: np.empty(len(index)) for name in names}
    for start in range(0, len(index), _BLOCK):
        rows = slice(start, start + _BLOCK)
        predicted = predictions.kernel(task, rows).astype(np.float64)
        failed[rows] = ~np.isfinite(predicted).all(axis=(1, 2))
        answered = ~failed[rows]
        true = truth[kernel[rows][answered]].astype(np.float64)
        for name in names:
            errors[name][rows][answered] = ERRORS[name](true, predicted[answered])
        if progress is not None:
            progress(min(start + _BLOCK, len(index)), len(index))
    for name in names:
        errors[name][failed] = _errors_of_failed(name, errors[name][~failed], truth, kernel[failed])
    return ImageScores(
        index=index,
        kernel=kernel,
        fold=release.stratum[kernel],
        n_scatterers=release.read("observations/n_scatterers")[index],
        failed=failed,
        errors=errors,
    )


def aggregate(
    images: ImageScores,
    *,
    n_available: int,
    predict_seconds: float | None = None,
    settings: IntervalSettings = DEFAULT_SETTINGS,
) -> TaskResult:
    """Summarise the errors of a task's images.

    The result does not depend on the order of the images.

    Parameters
    ----------
    images
        What was measured, of one image at least.
    n_available
        Number of images in the task's test role.
    predict_seconds
        Time that the calls of predict took, if it is known.
    settings
        How the intervals are made.
    """
    order = np.argsort(images.index)
    kernel, fold, n_scatterers = images.kernel[order], images.fold[order], images.n_scatterers[order]
    errors = {name: error[order] for name, error in images.errors.items()}
    relative = errors.pop("rel_l2")
    capped = np.minimum(relative, 1.0)
    statistics = {name: Statistic(error) for name, error in errors.items()} | {
        "rel_l2_mean": Statistic(relative),
        "rel_l2_median": Statistic(relative, 0.5),
        "rel_l2_q90": Statistic(relative, 0.9),
        "rel_l2_capped": Statistic(capped),
        "failure_rate": Statistic((relative >= 1).astype(np.float64), share=True),
    }

    def part(chosen: NDArray[np.bool_]) -> tuple[int, int, Interval]:
        interval = bootstrap_intervals({"capped": Statistic(capped[chosen])}, kernel[chosen], settings=settings)
        return int(chosen.sum()), len(np.unique(kernel[chosen])), interval["capped"]

    bins = []
    for above, most in zip((-1, *SCATTERER_EDGES), SCATTERER_EDGES, strict=False):
        chosen = (n_scatterers > above) & (n_scatterers <= most)
        if chosen.any():
            n, kernels, interval = part(chosen)
            bins.append(
                ScattererBin(
                    min_scatterers=above + 1,
                    max_scatterers=most,
                    n_images=n,
                    n_kernels=kernels,
                    rel_l2_capped=interval,
                )
            )
    groups = []
    for symmetry in np.unique(fold):
        n, kernels, interval = part(fold == symmetry)
        groups.append(FoldGroup(fold=int(symmetry), n_images=n, n_kernels=kernels, rel_l2_capped=interval))
    return TaskResult(
        metrics=Metrics(**bootstrap_intervals(statistics, kernel, settings=settings)),
        n_images=len(images),
        n_available=n_available,
        subset=len(images) < n_available,
        n_failed=int(images.failed.sum()),
        n_kernels=len(np.unique(kernel)),
        predict_seconds=predict_seconds,
        by_scatterers=tuple(bins),
        by_fold=tuple(groups),
    )


def _errors_of_failed(
    name: str, answered: NDArray[np.float64], truth: NDArray[np.float32], kernel: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Errors of images without an answer, (n,), from those with one and from the kernels they show."""
    different, place = np.unique(kernel, return_inverse=True)
    errors = ERRORS[name](truth[different], np.zeros_like(truth[different]))[place]
    if len(answered):
        worse, worst = (np.minimum, answered.min()) if name in HIGHER_IS_BETTER else (np.maximum, answered.max())
        worse(errors, worst, out=errors)
    return errors


def _check_truth(truth: NDArray[np.float32], kernels: NDArray[np.int32], release: Release) -> None:
    for kernel in kernels:
        if not np.isfinite(truth[kernel]).all() or not truth[kernel].any():
            raise InvalidDataError(
                f"Kernel {kernel} of release '{release.name}' is zero everywhere or not finite: an error relative to it"
                " has no meaning; make the release without it."
            )


def _shifted(progress: Progress | None, done: int, total: int) -> Progress | None:
    """Report the progress within a task as that within all of them."""
    return None if progress is None else lambda count, _: progress(done + count, total)


def release_record(release: Release) -> ReleaseRecord:
    """Which release it is, as results say it."""
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


def _peak_memory_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
