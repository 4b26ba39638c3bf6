"""Checks a result file: its form, its inner consistency, and its numbers re-derived from the predictions."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.joining import join, macro_average, mean_floor
from qpibench.evaluation.result import CellResult, Result
from qpibench.evaluation.result_differences import compare_results
from qpibench.evaluation.result_file import load_result
from qpibench.leaderboard.consistency import TOLERANCE, contradictions

if TYPE_CHECKING:
    from qpibench.release import Release

_SHOWN = 8


def check_result(
    result_path: str | Path, predictions: Sequence[str | Path] = (), releases: Sequence[str | Path] = ()
) -> tuple[Result, bool]:
    """Check a result file, and re-derive its scores if its predictions and releases are given.

    Without these files the schema and the consistency of the numbers with each other are checked. With them the
    releases are verified against their content hashes, the predictions against the hashes in the result, and the
    predictions are scored again; numbers may differ by 1e-9 of their size. Times and environments are not compared, so
    the predictions of another run with the same values serve as well.

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
        raise _missing("the release" if predictions else "the predictions file")
    result = load_result(result_path)
    refuse_contradictions(result, result_path)
    return result, bool(predictions) and _rederive(
        result, Path(result_path), [Path(path) for path in predictions], [Path(path) for path in releases]
    )


def releases_in(folder: str | Path, result_path: str | Path, predictions: Sequence[str | Path]) -> list[Path]:
    """Return the releases of a folder that predictions are of and a result names; see :mod:`qpibench.release.store`.

    Raises
    ------
    UsageError
        If there is no such folder, result or predictions file, or no predictions file is given.
    InvalidDataError
        If the result is not valid.
    """
    from qpibench.evaluation.predictions import release_sha256_of
    from qpibench.release.store import stored_under

    if not Path(folder).is_dir():
        raise UsageError(f"There is no folder '{folder}'; name the folder of the releases.")
    if not predictions:
        raise _missing("the predictions file")
    _check_present(predictions)
    wanted = {release_sha256_of(Path(path)) for path in predictions}
    parts = [part for cell in load_result(result_path).cells.values() for part in cell.parts]
    found = {
        path
        for part in parts
        if part.release.content_sha256 in wanted
        for path in stored_under(part.release.spec_sha256, folder)
    }
    return sorted(found)


def _missing(what: str) -> UsageError:
    return UsageError(f"Re-deriving a result needs its predictions file and the release; {what} is missing.")


def _check_present(predictions: Sequence[str | Path]) -> None:
    for path in predictions:
        if not os.path.isfile(path):
            raise UsageError(f"There is no predictions file '{path}'.")


def refuse_contradictions(result: Result, path: str | Path) -> None:
    """Raise InvalidDataError, which lists the contradictions, if the result of a file has any."""
    problems = list(dict.fromkeys(contradictions(result)))
    if problems:
        raise InvalidDataError(f"Result file '{path}' contradicts itself: {_listed(problems)}")


def _rederive(result: Result, result_path: Path, predictions: Sequence[Path], releases: Sequence[Path]) -> bool:
    """Re-derive the parts of the given predictions files; return whether these were all parts."""
    from qpibench.evaluation.predictions import release_of, release_sha256_of
    from qpibench.release import open_release

    _check_present(predictions)
    parts = [part for cell in result.cells.values() for part in cell.parts]
    by_content = {_verified(path): path for path in releases}
    for content, path in by_content.items():
        if content not in {part.release.content_sha256 for part in parts}:
            raise InvalidDataError(
                f"Result file '{result_path}' was measured on another release: it names the content hash"
                f" {_named(part.release.content_sha256 for part in parts)}, and that of '{path}' is {content}."
            )
    for path in predictions:
        of_release = release_sha256_of(path)
        for part in parts:
            if part.release.content_sha256 == of_release and of_release not in by_content:
                raise UsageError(f"'{path}' is of the release {part.release.name}, which is not among those given.")
    named = {part.predictions_sha256 for part in parts}
    with ExitStack() as opened:
        given = [opened.enter_context(open_release(path)) for path in releases]
        digests = {path: _digest(path, given, named, result_path) for path in predictions}
        differences: list[str] = []
        for path, digest in digests.items():
            differences += _differences(result, path, digest, release_of(path, given))
    if differences:
        raise InvalidDataError(f"Result file '{result_path}' is not what its predictions score: {_listed(differences)}")
    return named == set(digests.values())


def _digest(path: Path, releases: Sequence[Release], named: Collection[str], result_path: Path) -> str:
    """Return the hash by which a result names the predictions: of their values or, in older results, of the file."""
    from qpibench.evaluation.predictions import open_predictions, release_of

    with open_predictions(path, release_of(path, releases)) as opened:
        digest = opened.sha256()
        for each in (digest, opened.file_sha256()):
            if each in named:
                return each
    raise InvalidDataError(
        f"Result file '{result_path}' was made from other predictions: it names the SHA-256 {_named(named)}, and that"
        f" of '{path}' is {digest}."
    )


def _differences(result: Result, path: Path, digest: str, release: Release) -> list[str]:
    """List the differences between a result and the scores of the predictions file that it names by ``digest``."""
    from qpibench.evaluation.score import score

    stored = _only(result, digest)
    first = next(iter(stored.cells.values())).parts[0]
    asked = (() if cell.record is None else cell.record.metrics for cell in stored.cells.values())
    names = dict.fromkeys([*chain(*(cell.metrics for cell in stored.cells.values()), *asked)])
    derived = score(path, release, name=result.model.name, view=first.view, metrics=names)
    if result.suite is not None:
        derived = join([derived], suite=result.suite, not_applicable=result.not_applicable)
    cells = {name: _as_stored(cell, stored.cells.get(name), digest) for name, cell in derived.cells.items()}
    derived = derived.model_copy(update={"evaluator_version": result.evaluator_version, "cells": cells})
    return compare_results(stored, derived, tolerance=TOLERANCE)


def _as_stored(derived: CellResult, stored: CellResult | None, digest: str) -> CellResult:
    """Give derived scores the hash and the list of metrics that another version of the evaluator recorded."""
    parts = tuple(part.model_copy(update={"predictions_sha256": digest}) for part in derived.parts)
    if stored is not None:  # results had no median image once, and no family
        parts = tuple(
            part.model_copy(update={name: None for name in ("median_image", "family") if getattr(other, name) is None})
            for part, other in zip(parts, stored.parts, strict=False)
        )
    record = derived.record
    if record is not None and stored is not None and stored.record is not None:
        record = record.model_copy(update={"metrics": stored.record.metrics})
    return derived.model_copy(update={"parts": parts, "record": record})


def _only(result: Result, digest: str) -> Result:
    """Return the part of a result that was made from one predictions file."""
    cells = {}
    for name, cell in result.cells.items():
        parts = tuple(part for part in cell.parts if part.predictions_sha256 == digest)
        if parts:
            cells[name] = cell.model_copy(
                update={"parts": parts, "metrics": macro_average(parts), "floor": mean_floor(parts)}
            )
    failed = any(cell.failed for cell in cells.values())
    return result.model_copy(update={"cells": cells, "status": "failed" if failed else "complete"})


def _verified(path: Path) -> str:
    from qpibench.release import verify_release

    return verify_release(path)


def _named(digests: Iterable[str]) -> str:
    found = sorted(set(digests))
    return ", ".join(found) if len(found) <= _SHOWN else f"of {len(found)} others"


def _listed(problems: Sequence[str]) -> str:
    more = f" And {len(problems) - _SHOWN} more." if len(problems) > _SHOWN else ""
    return " ".join(problems[:_SHOWN]) + more
