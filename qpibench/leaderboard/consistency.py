"""Finds contradictions in a result without its predictions."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from qpibench.errors import UsageError
from qpibench.evaluation.entries import file_sha256, shipped_entries
from qpibench.evaluation.joining import macro_average, mean_floor
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.result import (
    ORACLE,
    ORACLE_VIEW,
    UNKNOWN_VIEW,
    CellRecord,
    CellResult,
    Floor,
    Group,
    Interval,
    ModelRecord,
    PartResult,
    Result,
)
from qpibench.evaluation.trained import method_name
from qpibench.tasks.suite import Suite, load_suite, suite_names
from qpibench.tasks.track import load_track, track_names
from qpibench.tasks.views import VIEWS, allows, check_view

TOLERANCE = 1e-9
"""Relative difference of numbers that are meant to be equal."""

_BREAKDOWNS = ("scatterers", "stratum")
"""Breakdowns that every scored task has."""


def contradictions(result: Result) -> Iterator[str]:
    """List the contradictions in a result, one sentence each."""
    for problem in _training_contradictions(result.model):
        yield f"{problem}."
    for name, cell in result.cells.items():
        for part in cell.parts:
            where = f"cell {name}" if len(cell.parts) == 1 else f"cell {name}, release {part.release.name}"
            for problem in _part_contradictions(part, cell.primary):
                yield f"{where}: {problem}."
        for problem in _mean_contradictions(cell):
            yield f"cell {name}: {problem}."
        yield from _track_contradictions(cell)
        for problem in _view_contradictions(cell, result.model):
            yield f"cell {name}: {problem}."
        needs = [view for view in result.model.needs if view in VIEWS]
        if needs and cell.view in VIEWS and not any(allows(cell.view, view) for view in needs):
            yield f"the entry needs {' or '.join(needs)} and was shown the view {cell.view}."
    yield from _suite_contradictions(result)
    yield from _predictions_contradictions([part for cell in result.cells.values() for part in cell.parts])
    tasks = {cell.task for cell in result.cells.values()}
    failures = {part.failure.task for cell in result.cells.values() for part in cell.parts if part.failure is not None}
    for task in sorted(failures - tasks - {None}, key=str):
        yield f"the entry failed in task {task}, which was not scored."


def _view_contradictions(cell: CellResult, model: ModelRecord) -> Iterator[str]:
    """Check the view and the map mode; oracles and predictions that do not say their view have views of their own."""
    if cell.view == ORACLE_VIEW and ORACLE not in model.knows:
        yield f"the view is that of an oracle, but the entry does not declare that it knows {ORACLE}"
    if cell.view in (ORACLE_VIEW, UNKNOWN_VIEW):
        return
    try:
        # Older results have a map mode with the view image too.
        check_view(cell.view, None if cell.view == "image" else cell.map_mode)
    except UsageError as error:
        yield str(error).rstrip(".")


def _predictions_contradictions(parts: Sequence[PartResult]) -> Iterator[str]:
    """Check that each predictions file has one release, view and map mode, and each of its tasks once."""
    for digest in dict.fromkeys(part.predictions_sha256 for part in parts):
        same = [part for part in parts if part.predictions_sha256 == digest]
        origins = {(part.release.content_sha256, part.view, part.map_mode) for part in same}
        if len(origins) > 1 or len({part.task for part in same}) < len(same):
            yield f"several parts, which differ in release, view or cell, are of the same predictions {digest[:12]}."
        seconds, whole = [part.predict_seconds for part in same], same[0].prediction_run.seconds
        if whole is not None and _above(math.fsum(each for each in seconds if each is not None), whole):
            yield f"the calls of predict took longer than predicting took in all, {whole!r} s."


def _training_contradictions(model: ModelRecord) -> Iterator[str]:
    """Check that a trained entry has a record of its training that agrees with its name, its steps and its weights."""
    training = model.training
    if training is None:
        if method_name(model.name) != model.name:
            yield f"the entry '{model.name}' has the name of a training run, but no record of its training"
        elif model.name.partition(" (")[0] in _trainable() or model.file_sha256 in _trainable().values():
            yield f"the entry '{model.name}' is a shipped entry that is trained, but has no record of its training"
        return
    if not model.weights:
        yield f"the entry '{model.name}' has a record of its training, but no weights"
    if (seed := re.search(r"\bseed (\d+)\)$", model.name)) and int(seed[1]) != training.seed:
        yield f"the entry '{model.name}' was trained with the seed {training.seed}"
    share = min(1.0, training.steps_done / training.steps_stated)
    # Where validation ended a run early, fraction is 1 whatever the steps.
    if training.fraction == 1 and not training.steps_done:
        yield f"no training step was done, but the fraction is {training.fraction!r}"
    if not _close(training.fraction, share) and training.fraction != 1:
        yield (
            f"{training.steps_done} of {training.steps_stated} training steps are the fraction {share!r}, not"
            f" {training.fraction!r}"
        )


@cache
def _trainable() -> dict[str, str]:
    """Return the names of the shipped entries with a function ``train``, and the SHA-256 of their files."""
    return {
        name: file_sha256(path)
        for name, path in shipped_entries().items()
        if any(isinstance(node, ast.FunctionDef) and node.name == "train" for node in ast.parse(path.read_bytes()).body)
    }


def _mean_contradictions(cell: CellResult) -> Iterator[str]:
    """Check that the scores and the floor of a cell are the means of those of its parts."""
    yield from _other_means(cell.metrics, macro_average(cell.parts))
    floor = mean_floor(cell.parts)
    if cell.floor is None or floor is None:
        if cell.floor != floor:
            yield (
                "it has a floor and its parts have none" if floor is None else "its parts have a floor and it has none"
            )
        return
    yield from (f"floor: {problem}" for problem in _other_means(cell.floor.metrics, floor.metrics))
    yield from (f"added to the floor: {problem}" for problem in _other_means(cell.floor.added, floor.added))


def _other_means(scores: Mapping[str, Interval], means: Mapping[str, Interval]) -> Iterator[str]:
    for name in sorted(scores.keys() ^ means.keys()):
        yield f"{name} is not among the scores of the cell and of all its parts"
    for name in sorted(scores.keys() & means.keys()):
        found, mean = scores[name], means[name]
        if any(not _close(getattr(found, end), getattr(mean, end)) for end in ("value", "low", "high")):
            yield f"{name} is {found.value!r}, but the parts have the mean {mean.value!r}"


def _track_contradictions(result: CellResult) -> Iterator[str]:
    """Check the cell of a result against its record, and against the shipped track of that name."""
    record = result.record
    if record is None:
        return
    for part in result.parts:
        if record.size is not None and part.n_images > record.size:
            yield f"the cell {record.label} has {record.size} images of a release, but {part.n_images} were scored."
    if missing := _missing(result, record.metrics):
        yield f"the cell {record.label} scores {', '.join(missing)} too."
    if record.track not in track_names():
        return
    track = load_track(record.track)
    if track.sha256 != record.track_sha256:
        yield f"the track {track.name} is another one: its hash is {track.sha256}, not {record.track_sha256}."
        return
    if record.cell not in track.cells:
        yield f"the track {track.name} has no cell {record.cell}."
        return
    cell = track.cells[record.cell]
    expected = CellRecord.of(track, record.cell)
    if record.model_copy(update={"metrics": record.metrics or expected.metrics}) != expected:
        yield f"the cell {record.label} has the primary metric {cell.primary} and the size {cell.size}."
    if missing := _missing(result, expected.metrics):
        yield f"the cell {record.label} scores {', '.join(missing)} too."
    if (result.view, result.map_mode) != (cell.view, cell.map):
        yield f"the cell {record.label} has view {cell.view} and map {cell.map}."
    told = cell.told_species and allows(cell.view, "positions")
    if any(part.told_species not in (None, told) for part in result.parts):
        yield f"the cell {record.label} {'shows' if told else 'does not show'} the species of scatterers."
    if result.task != cell.task:
        yield f"the cell {record.label} has the task {cell.task}."
    if {part.release.spec_sha256 for part in result.parts} != {spec.sha256 for spec in cell.specs}:
        yield f"the cell {record.label} is on other releases: {', '.join(spec.name for spec in cell.specs)}."


def _suite_contradictions(result: Result) -> Iterator[str]:
    """Check numbers of images against the limit of the suite, and the cells against those of a shipped suite."""
    asked = result.suite
    if asked is None:
        return
    for name, cell in result.cells.items():
        most = max(part.n_images for part in cell.parts)
        if asked.limit is not None and most > asked.limit:
            yield f"cell {name}: the suite was limited to {asked.limit} images of a release, but {most} were scored."
    suite = _shipped_suites().get(asked.sha256)
    if suite is None:
        return
    if suite.limit is not None and (asked.limit is None or asked.limit > suite.limit):
        yield f"the suite {suite.name} is limited to {suite.limit} images of a release."
    labels, answered = [cell.label for cell in suite.cells], [*result.cells, *result.not_applicable]
    if others := [name for name in answered if name not in labels]:
        yield f"the suite {suite.name} has no cell {', '.join(others)}."
    missing = [label for label in labels if label not in answered]
    if missing and result.status != "unfinished":
        yield f"cells of the suite {suite.name} have neither scores nor a reason: {', '.join(missing)}."


@cache
def _shipped_suites() -> dict[str, Suite]:
    """Return the suites that come with the package by their SHA-256."""
    return {suite.sha256: suite for suite in map(load_suite, suite_names())}


def _missing(result: CellResult, metrics: Sequence[str]) -> list[str]:
    """Return which metrics a cell lacks, without those that may not apply to its predictions or releases."""
    known = all_metrics()
    return [
        name for name in metrics if name not in result.metrics and (name not in known or known[name].always_applies)
    ]


def _part_contradictions(part: PartResult, primary: str) -> Iterator[str]:
    """Check that counts add up, scores are within the bounds of their metrics, and groups agree with the whole."""
    if part.n_available > part.release.observation_count:
        yield f"{part.n_available} images in a release of {part.release.observation_count}"
    if part.n_kernels > part.release.kernel_count:
        yield f"{part.n_kernels} kernels in a release of {part.release.kernel_count}"
    if part.n_kernels > part.n_images:
        yield f"{part.n_kernels} kernels in {part.n_images} images"
    if part.failure is not None and part.failure.task == part.task and not part.n_failed:
        yield "the entry failed in this task, but no image is counted as failed"
    median = part.median_image
    if median is not None and median.observation >= part.release.observation_count:
        yield f"the median image is {median.observation} of a release of {part.release.observation_count}"
    yield from _median_contradictions(part, primary)
    yield from _score_contradictions(part.metrics, n_images=part.n_images, n_failed=part.n_failed)
    if part.floor is not None:
        yield from (f"floor: {problem}" for problem in _floor_contradictions(part.floor, part))
    for name in _BREAKDOWNS:
        if name not in part.breakdowns:
            yield f"the groups by {name} are missing"
    for name, groups in part.breakdowns.items():
        yield from _breakdown_contradictions(name, groups, part, primary)


def _score_contradictions(metrics: Mapping[str, Interval], *, n_images: int, n_failed: int) -> Iterator[str]:
    """Check scores of the same images against their bounds and against each other."""
    yield from _bounds_contradictions(metrics)
    known = all_metrics()
    values = {name: score.value for name, score in metrics.items() if name in known}
    for name, value in values.items():
        metric = known[name]
        if (more := metric.at_most) in values and _above(value, values[more]):
            yield f"{name} is {value!r}, larger than {more}, {values[more]!r}"
        if (square := metric.square_at_most) in values and _above(value**2, values[square]):
            yield f"the square of {name} is {value**2!r}, larger than {square}, {values[square]!r}"
        if metric.counts_failures:
            failures = value * n_images
            if not math.isclose(failures, round(failures), abs_tol=1e-6) or _above(n_failed, failures):
                yield f"{name} {value!r} does not fit {n_failed} failed of {n_images} images"


def _floor_contradictions(floor: Floor, part: PartResult) -> Iterator[str]:
    """Check the scores of the auto-encoded kernels, and that they and the added errors make the part's scores."""
    yield from _score_contradictions(floor.metrics, n_images=part.n_images, n_failed=0)
    known = all_metrics()
    for name in sorted(floor.metrics.keys() - part.metrics.keys()):
        yield f"{name} is not among the scores"
    means = {name for name in floor.metrics if name in known and known[name].is_mean}
    for name in sorted(floor.added.keys() ^ means):
        yield f"{name} must be both a mean over images in the floor and an added error, or neither"
    for name in sorted(floor.added.keys() & means & part.metrics.keys()):
        low, added, score = floor.metrics[name].value, floor.added[name].value, part.metrics[name].value
        if not _close(low + added, score):
            yield f"{name} is {low!r} and {added!r} is added, but the score is {score!r}"


def _median_contradictions(part: PartResult, primary: str) -> Iterator[str]:
    """Check the error of the median image, the lower of the middle two, against a median among the scores."""
    known = all_metrics()
    if part.median_image is None or part.n_failed or primary not in known:  # failed images count in the score only
        return
    error, (column, *_) = part.median_image.error, known[primary].columns
    for name, score in part.metrics.items():
        metric = known.get(name)
        if metric is None or metric.quantile != 0.5 or metric.of is not None or metric.columns != (column,):
            continue
        other = part.n_images % 2 == 1 and not _close(error, score.value)
        if column.worse == "higher" and (other or _above(error, score.value)):
            yield f"the median image has the error {error!r}, but {name} is {score.value!r}"


def _bounds_contradictions(metrics: Mapping[str, Interval]) -> Iterator[str]:
    """Check that every score and both ends of its interval are within the bounds of the metric."""
    known = all_metrics()
    for name, score in metrics.items():
        if name not in known:
            yield f"there is no metric {name}"
            continue
        low, high = known[name].bounds
        ends = {"": score.value, "the lower end of ": score.low, "the upper end of ": score.high}
        for end, value in ends.items():
            if _above(low, value):
                yield f"{end}{name} is {value!r}, less than {low:g}"
            if _above(value, high):
                yield f"{end}{name} is {value!r}, larger than {high:g}"


def _breakdown_contradictions(name: str, groups: Sequence[Group], part: PartResult, primary: str) -> Iterator[str]:
    """Check that the means of the groups add up to the mean of all images, as every image is in one group."""
    images = sum(group.n_images for group in groups)
    if images != part.n_images:
        yield f"the groups by {name} have {images} images, not {part.n_images}"
        return
    if name == "stratum" and (kernels := sum(group.n_kernels for group in groups)) != part.n_kernels:
        yield f"the groups by {name} have {kernels} kernels, not {part.n_kernels}"
    for group in groups:
        if group.n_kernels > min(group.n_images, part.n_kernels):
            yield f"the group {group.label} by {name} has {group.n_kernels} kernels in {group.n_images} images"
        if primary not in group.metrics:
            yield f"the group {group.label} by {name} has no {primary}"
        yield from (f"the group {group.label} by {name}: {each}" for each in _bounds_contradictions(group.metrics))
    known = all_metrics()
    for metric, score in part.metrics.items():
        of_groups = [(group.n_images, group.metrics[metric]) for group in groups if metric in group.metrics]
        if len(of_groups) < len(groups) or metric not in known or not known[metric].is_mean:
            continue
        mean = math.fsum(count * each.value for count, each in of_groups) / images
        if not math.isclose(mean, score.value, rel_tol=1e-6, abs_tol=1e-12):
            yield f"the groups by {name} have a mean {metric} of {mean!r}, not {score.value!r}"


def _close(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=TOLERANCE, abs_tol=1e-15)


def _above(value: float, limit: float) -> bool:
    return value > limit and not math.isclose(value, limit, rel_tol=TOLERANCE, abs_tol=1e-15)
