"""Is a result what it says? Its form, its inner consistency, and its numbers re-derived from the predictions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.joining import macro_average
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.result import (
    CellRecord,
    CellResult,
    Group,
    Interval,
    PartResult,
    Result,
    compare_results,
    load_result,
)
from qpibench.tasks.track import load_track, track_names
from qpibench.tasks.views import VIEWS, allows

_SHOWN = 8
_TOLERANCE = 1e-9


def check_result(
    result_path: str | Path, predictions: Sequence[str | Path] = (), releases: Sequence[str | Path] = ()
) -> tuple[Result, bool]:
    """Check a result file, and re-derive it where its predictions and releases are given.

    Without these files the schema and the consistency of the numbers with each other are checked. With them the
    releases are verified against their content hashes, the predictions files against the hashes in the result, and the
    predictions are scored again; numbers may differ by 1e-9 of their size. What took time is not compared.

    Parameters
    ----------
    result_path
        The result file.
    predictions, releases
        The files it was made from: predictions files of some of its parts, and their releases.

    Returns
    -------
    Result
        The checked result.
    bool
        Whether every part was re-derived.

    Raises
    ------
    UsageError
        If a file does not exist, or predictions or releases are given without the others.
    InvalidDataError
        If a file is not valid, the files do not belong together, or numbers differ; the message lists them.
    """
    if bool(predictions) != bool(releases):
        missing = "the release" if predictions else "the predictions file"
        raise UsageError(f"Re-deriving a result needs its predictions file and the release; {missing} is missing.")
    result = load_result(result_path)
    problems = list(dict.fromkeys(_contradictions(result)))
    if problems:
        raise InvalidDataError(f"Result file '{result_path}' contradicts itself: {_listed(problems)}")
    return result, bool(predictions) and _rederive(
        result, Path(result_path), [Path(path) for path in predictions], [Path(path) for path in releases]
    )


def _rederive(result: Result, result_path: Path, predictions: Sequence[Path], releases: Sequence[Path]) -> bool:
    """Derive the parts of the predictions files again; whether that was all of them."""
    parts = [part for cell in result.cells.values() for part in cell.parts]
    digests = {path: _sha256(path) for path in predictions}
    for path, digest in digests.items():
        if digest not in {part.predictions_sha256 for part in parts}:
            raise InvalidDataError(
                f"Result file '{result_path}' was made from other predictions: it names the SHA-256"
                f" {_named(part.predictions_sha256 for part in parts)}, and that of '{path}' is {digest}."
            )
    by_content = {_verified(path): path for path in releases}
    for content, path in by_content.items():
        if content not in {part.release.content_sha256 for part in parts}:
            raise InvalidDataError(
                f"Result file '{result_path}' was measured on another release: it names the content hash"
                f" {_named(part.release.content_sha256 for part in parts)}, and that of '{path}' is {content}."
            )
    differences: list[str] = []
    for path, digest in digests.items():
        differences += _differences(result, path, digest, by_content)
    if differences:
        raise InvalidDataError(f"Result file '{result_path}' is not what its predictions score: {_listed(differences)}")
    return {part.predictions_sha256 for part in parts} == set(digests.values())


def _differences(result: Result, path: Path, digest: str, releases: Mapping[str, Path]) -> list[str]:
    """What a predictions file, of a given hash, scores otherwise than the result says."""
    from qpibench.evaluation.score import score
    from qpibench.release import open_release

    stored = _only(result, digest)
    first = next(iter(stored.cells.values())).parts[0]
    if first.release.content_sha256 not in releases:
        raise UsageError(f"'{path}' is of the release {first.release.name}, which is not among those given.")
    names = dict.fromkeys(name for cell in stored.cells.values() for name in cell.metrics)
    with open_release(releases[first.release.content_sha256]) as release:
        derived = score(path, release, name=result.model.name, view=first.view, metrics=names)
    # Another version of the evaluator may score, and record other metrics; it must only come to the same numbers.
    cells = {
        name: cell.model_copy(update={"record": _recorded(cell.record, stored.cells[name].record)})
        if name in stored.cells
        else cell
        for name, cell in derived.cells.items()
    }
    derived = derived.model_copy(update={"evaluator_version": result.evaluator_version, "cells": cells})
    return compare_results(stored, derived, tolerance=_TOLERANCE)


def _recorded(derived: CellRecord | None, stored: CellRecord | None) -> CellRecord | None:
    if derived is None or stored is None:
        return derived
    return derived.model_copy(update={"metrics": stored.metrics})


def _only(result: Result, digest: str) -> Result:
    """What a result says of one predictions file."""
    cells = {}
    for name, cell in result.cells.items():
        parts = tuple(part for part in cell.parts if part.predictions_sha256 == digest)
        if parts:
            cells[name] = cell.model_copy(update={"parts": parts, "metrics": macro_average(parts)})
    failed = any(cell.failed for cell in cells.values())
    return result.model_copy(update={"cells": cells, "status": "failed" if failed else "complete"})


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"There is no predictions file '{path}'.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verified(path: Path) -> str:
    from qpibench.release import verify_release

    return verify_release(path)


def _named(digests: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(digests))


def _contradictions(result: Result) -> Iterator[str]:
    """What cannot be true of any score, one sentence each."""
    for name, cell in result.cells.items():
        for part in cell.parts:
            where = f"cell {name}" if len(cell.parts) == 1 else f"cell {name}, release {part.release.name}"
            for problem in _part_contradictions(part):
                yield f"{where}: {problem}."
        for problem in _mean_contradictions(cell):
            yield f"cell {name}: {problem}."
        yield from _track_contradictions(cell)
        needs = [view for view in result.model.needs if view in VIEWS]
        if needs and cell.view in VIEWS and not any(allows(cell.view, view) for view in needs):
            yield f"the entry needs {' or '.join(needs)} and was shown the view {cell.view}."
    tasks = {cell.task for cell in result.cells.values()}
    failures = {part.failure.task for cell in result.cells.values() for part in cell.parts if part.failure is not None}
    for task in sorted(failures - tasks - {None}, key=str):
        yield f"the entry failed in task {task}, which was not scored."


def _mean_contradictions(cell: CellResult) -> Iterator[str]:
    """The scores of a cell are the means of those of its parts."""
    expected = macro_average(cell.parts)
    for name in sorted(cell.metrics.keys() ^ expected.keys()):
        yield f"{name} is not among the scores of the cell and of all its parts"
    for name in sorted(cell.metrics.keys() & expected.keys()):
        found, mean = cell.metrics[name], expected[name]
        if any(not _close(getattr(found, end), getattr(mean, end)) for end in ("value", "low", "high")):
            yield f"{name} is {found.value!r}, but the parts have the mean {mean.value!r}"


def _track_contradictions(result: CellResult) -> Iterator[str]:
    """What a result says of the cell of a shipped track, against that track."""
    record = result.record
    if record is None or record.track not in track_names():
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
    if missing := [name for name in expected.metrics if name not in result.metrics]:
        yield f"the cell {record.label} scores {', '.join(missing)} too."
    if (result.view, result.map_mode) != (cell.view, cell.map):
        yield f"the cell {record.label} has view {cell.view} and map {cell.map}."
    if result.task != cell.task:
        yield f"the cell {record.label} has the task {cell.task}."
    if {part.release.spec_sha256 for part in result.parts} != {spec.sha256 for spec in cell.specs}:
        yield f"the cell {record.label} is on other releases: {', '.join(spec.name for spec in cell.specs)}."


def _part_contradictions(part: PartResult) -> Iterator[str]:
    if part.n_available > part.release.observation_count:
        yield f"{part.n_available} images in a release of {part.release.observation_count}"
    if part.n_kernels > part.release.kernel_count:
        yield f"{part.n_kernels} kernels in a release of {part.release.kernel_count}"
    known = all_metrics()
    values = {name: score.value for name, score in part.metrics.items()}
    for name, value in values.items():
        if name not in known:
            yield f"there is no metric {name}"
            continue
        metric = known[name]
        low, high = metric.bounds
        if _above(low, value):
            yield f"{name} is {value!r}, less than {low:g}"
        if _above(value, high):
            yield f"{name} is {value!r}, larger than {high:g}"
        if (more := metric.at_most) in values and _above(value, values[more]):
            yield f"{name} is {value!r}, larger than {more}, {values[more]!r}"
        if (square := metric.square_at_most) in values and _above(value**2, values[square]):
            yield f"the square of {name} is {value**2!r}, larger than {square}, {values[square]!r}"
        if metric.counts_failures:
            failures = value * part.n_images
            if not math.isclose(failures, round(failures), abs_tol=1e-6) or _above(part.n_failed, failures):
                yield f"{name} {value!r} does not fit {part.n_failed} failed of {part.n_images} images"
    for name, groups in part.breakdowns.items():
        yield from _breakdown_contradictions(name, groups, part)


def _breakdown_contradictions(name: str, groups: Sequence[Group], part: PartResult) -> Iterator[str]:
    """Every image is in one group, so that the groups' means add up to that of all images."""
    images = sum(group.n_images for group in groups)
    if images != part.n_images:
        yield f"the groups by {name} have {images} images, not {part.n_images}"
        return
    known = all_metrics()
    for metric, score in part.metrics.items():
        of_groups: list[tuple[int, Interval]] = [
            (group.n_images, group.metrics[metric]) for group in groups if metric in group.metrics
        ]
        if len(of_groups) < len(groups) or metric not in known or not known[metric].is_mean:
            continue
        mean = math.fsum(count * each.value for count, each in of_groups) / images
        if not math.isclose(mean, score.value, rel_tol=1e-6, abs_tol=1e-12):
            yield f"the groups by {name} have a mean {metric} of {mean!r}, not {score.value!r}"


def _close(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=_TOLERANCE, abs_tol=1e-15)


def _above(value: float, limit: float) -> bool:
    return value > limit and not math.isclose(value, limit, rel_tol=_TOLERANCE, abs_tol=1e-15)


def _listed(problems: Sequence[str]) -> str:
    more = f" And {len(problems) - _SHOWN} more." if len(problems) > _SHOWN else ""
    return " ".join(problems[:_SHOWN]) + more
