"""Checks a result file: its form, its inner consistency, and its numbers re-derived from the predictions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.joining import macro_average
from qpibench.evaluation.result import CellRecord, Result, compare_results, load_result
from qpibench.leaderboard.consistency import TOLERANCE, contradictions

_SHOWN = 8


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
    problems = list(dict.fromkeys(contradictions(result)))
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
    return compare_results(stored, derived, tolerance=TOLERANCE)


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


def _listed(problems: Sequence[str]) -> str:
    more = f" And {len(problems) - _SHOWN} more." if len(problems) > _SHOWN else ""
    return " ".join(problems[:_SHOWN]) + more
