"""Is a result what it says? Its form, its inner consistency, and its numbers re-derived from the predictions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.result import (
    CellRecord,
    FoldGroup,
    Result,
    ScattererBin,
    TaskResult,
    compare_results,
    load_result,
)
from qpibench.tasks.track import load_track, track_names
from qpibench.tasks.views import VIEWS, allows

_SHOWN = 8
_TOLERANCE = 1e-9


def check_result(
    result_path: str | Path, predictions_path: str | Path | None = None, release_path: str | Path | None = None
) -> Result:
    """Check a result file, and re-derive it where its predictions and the release are given.

    Without the two files the schema and the consistency of the numbers with each other are checked. With them the
    release is verified against its content hash, the predictions file against the hash in the result, and the
    predictions are scored again; numbers may differ by 1e-9 of their size. What took time is not compared.

    Parameters
    ----------
    result_path
        The result file.
    predictions_path, release_path
        The files it was made from; both or neither.

    Returns
    -------
    Result
        The checked result.

    Raises
    ------
    UsageError
        If a file does not exist, or one of predictions and release is given without the other.
    InvalidDataError
        If a file is not valid, the files do not belong together, or numbers differ; the message lists them.
    """
    if (predictions_path is None) != (release_path is None):
        missing = "the predictions file" if predictions_path is None else "the release"
        raise UsageError(f"Re-deriving a result needs its predictions file and the release; {missing} is missing.")
    result = load_result(result_path)
    problems = list(_contradictions(result))
    if problems:
        raise InvalidDataError(f"Result file '{result_path}' contradicts itself: {_listed(problems)}")
    if predictions_path is not None and release_path is not None:
        _rederive(result, Path(result_path), Path(predictions_path), Path(release_path))
    return result


def _rederive(result: Result, result_path: Path, predictions_path: Path, release_path: Path) -> None:
    from qpibench.evaluation.score import score
    from qpibench.release import open_release, verify_release

    if not predictions_path.is_file():
        raise UsageError(f"There is no predictions file '{predictions_path}'.")
    with predictions_path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != result.predictions_sha256:
        raise InvalidDataError(
            f"Result file '{result_path}' was made from other predictions: it names the SHA-256"
            f" {result.predictions_sha256}, and that of '{predictions_path}' is {digest}."
        )
    content_sha256 = verify_release(release_path)
    if content_sha256 != result.release.content_sha256:
        raise InvalidDataError(
            f"Result file '{result_path}' was measured on another release: it names the content hash"
            f" {result.release.content_sha256}, and that of '{release_path}' is {content_sha256}."
        )
    with open_release(release_path) as release:
        derived = score(predictions_path, release, name=result.model.name, view=result.view)
    # Another version of the evaluator may score; it must only come to the same numbers.
    derived = derived.model_copy(update={"evaluator_version": result.evaluator_version})
    differences = compare_results(result, derived, tolerance=_TOLERANCE)
    if differences:
        raise InvalidDataError(f"Result file '{result_path}' is not what its predictions score: {_listed(differences)}")


def _contradictions(result: Result) -> Iterator[str]:
    """What cannot be true of any score, one sentence each."""
    for name, task in result.tasks.items():
        for problem in _task_contradictions(task):
            yield f"task {name}: {problem}."
        if task.n_available > result.release.observation_count:
            yield f"task {name}: {task.n_available} images in a release of {result.release.observation_count}."
        if task.n_kernels > result.release.kernel_count:
            yield f"task {name}: {task.n_kernels} kernels in a release of {result.release.kernel_count}."
    yield from _cell_contradictions(result)
    needs = [view for view in result.model.needs if view in VIEWS]
    if needs and result.view in VIEWS and not any(allows(result.view, view) for view in needs):
        yield f"the entry needs {' or '.join(needs)} and was shown the view {result.view}."
    if result.failure is not None and result.failure.task not in (None, *result.tasks):
        yield f"the entry failed in task {result.failure.task}, which was not scored."


def _cell_contradictions(result: Result) -> Iterator[str]:
    """What a result says of the cell of a shipped track, against that track."""
    if result.cell is None or result.cell.track not in track_names():
        return
    track = load_track(result.cell.track)
    if track.sha256 != result.cell.track_sha256:
        yield f"the track {track.name} is another one: its hash is {track.sha256}, not {result.cell.track_sha256}."
        return
    if result.cell.cell not in track.cells:
        yield f"the track {track.name} has no cell {result.cell.cell}."
        return
    cell = track.cells[result.cell.cell]
    if CellRecord.of(track, result.cell.cell) != result.cell:
        yield f"the cell {result.cell.label} has the primary metric {cell.primary} and the size {cell.size}."
    if (result.view, result.map_mode) != (cell.view, cell.map):
        yield f"the cell {result.cell.label} has view {cell.view} and map {cell.map}."
    if list(result.tasks) != [cell.task]:
        yield f"the cell {result.cell.label} has the task {cell.task}."
    if result.release.spec_sha256 not in {spec.sha256 for spec in cell.specs}:
        yield f"the cell {result.cell.label} is on other releases: {', '.join(spec.name for spec in cell.specs)}."


def _task_contradictions(task: TaskResult) -> Iterator[str]:
    metrics = task.metrics
    values = {name: getattr(metrics, name).value for name in type(metrics).model_fields}
    for name in ("mae", "mse", "rmse", "mae_published", "mse_published", "rmse_published", "rel_l2_capped"):
        if values[name] < 0:
            yield f"{name} is negative"
    # The mean of squares is at least the square of the mean, in each image and over them.
    orders = [("mae", "rmse"), ("mae_published", "rmse_published"), ("rel_l2_capped", "rel_l2_mean")]
    orders += [("rel_l2_median", "rel_l2_q90")]
    for less, more in orders:
        if _above(values[less], values[more]):
            yield f"{less} is {values[less]!r}, larger than {more}, {values[more]!r}"
    for root, square in (("rmse", "mse"), ("rmse_published", "mse_published")):
        if _above(values[root] ** 2, values[square]):
            yield f"the square of {root} is {values[root] ** 2!r}, larger than {square}, {values[square]!r}"
    for name, most in (("rel_l2_capped", 1.0), ("failure_rate", 1.0), ("ssim", 1.0), ("psnr", 150.0)):
        if _above(values[name], most):
            yield f"{name} is {values[name]!r}, larger than {most:g}"
    failures = values["failure_rate"] * task.n_images
    if not math.isclose(failures, round(failures), abs_tol=1e-6) or _above(task.n_failed, failures):
        yield f"failure_rate {values['failure_rate']!r} does not fit {task.n_failed} failed of {task.n_images} images"
    yield from _breakdown_contradictions("by_scatterers", task.by_scatterers, task)
    yield from _breakdown_contradictions("by_fold", task.by_fold, task)


def _breakdown_contradictions(
    name: str, groups: Sequence[ScattererBin] | Sequence[FoldGroup], task: TaskResult
) -> Iterator[str]:
    """Every image is in one group, so that the groups' means add up to that of all images."""
    images = sum(group.n_images for group in groups)
    if images != task.n_images:
        yield f"the groups of {name} have {images} images, not {task.n_images}"
        return
    mean = math.fsum(group.n_images * group.rel_l2_capped.value for group in groups) / images
    whole = task.metrics.rel_l2_capped.value
    if not math.isclose(mean, whole, rel_tol=1e-6, abs_tol=1e-12):
        yield f"the groups of {name} have a mean rel_l2_capped of {mean!r}, not {whole!r}"


def _above(value: float, limit: float) -> bool:
    return value > limit and not math.isclose(value, limit, rel_tol=_TOLERANCE, abs_tol=1e-15)


def _listed(problems: Sequence[str]) -> str:
    more = f" And {len(problems) - _SHOWN} more." if len(problems) > _SHOWN else ""
    return " ".join(problems[:_SHOWN]) + more
