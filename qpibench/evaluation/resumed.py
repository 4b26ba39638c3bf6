"""Continues an interrupted evaluation: the cells of a result file that need not be evaluated again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qpibench import __version__
from qpibench.errors import UsageError
from qpibench.evaluation.entries import Entry, file_sha256
from qpibench.evaluation.entry_code import code_sha256
from qpibench.evaluation.predict import Request
from qpibench.evaluation.result import CellResult, Result, SuiteRecord
from qpibench.evaluation.result_file import load_result

if TYPE_CHECKING:
    from qpibench.release import Release


def finished(
    path: str | Path,
    entry: Entry,
    asked: Sequence[tuple[Request, Release]],
    *,
    suite: SuiteRecord | None,
    threads: int,
) -> Result:
    """Return the part of a result file that is kept: its cells in which the entry did not fail.

    Parameters
    ----------
    path
        The result file.
    entry
        The entry that is evaluated.
    asked
        What is asked of the entry, and the release of each request; all requests are cells of tracks.
    suite
        The suite that is asked, if there is one.
    threads
        Threads of the model's numerical libraries.

    Returns
    -------
    Result
        Its ``cells`` may be empty. Seed, batch size and limits are not compared, as a result does not have them.

    Raises
    ------
    UsageError
        If the result is of another entry, evaluator, suite, track, subset, release or number of threads.
    InvalidDataError
        If it is no result file.
    """
    result = load_result(path)
    for difference in _differences(result, entry, asked, suite, threads):
        raise UsageError(
            f"'{path}' cannot be resumed: {difference}; leave out --resume to replace it, or write to another file."
        )
    return result.model_copy(update={"cells": {name: cell for name, cell in result.cells.items() if not cell.failed}})


def _differences(
    result: Result, entry: Entry, asked: Sequence[tuple[Request, Release]], suite: SuiteRecord | None, threads: int
) -> Iterator[str]:
    model = result.model
    if model.name != entry.name:
        yield f"it is of the entry '{model.name}', and '{entry.name}' is asked"
    if (model.file_sha256, model.code_sha256) != (entry.sha256, code_sha256(entry.path)):
        yield f"the code of '{entry.name}' has changed since"
    trained = entry.weights_sha256()
    if model.weights != {n: trained.get(n) or file_sha256(entry.path.parent / n) for n in (*model.weights, *trained)}:
        yield f"the weights of '{entry.name}' have changed since"
    if result.evaluator_version != __version__:
        yield f"qpibench {result.evaluator_version} made it, and this is {__version__}"
    if result.suite != suite:
        yield f"it is of {_words(result.suite)}, and {_words(suite)} is asked"
    for name, cell in result.cells.items():
        if cell.record is None:
            yield f"it has the task '{name}', which is no cell of a track"
            continue
        requests = [each for each in asked if each[0].cell is not None and each[0].cell.label == cell.record.label]
        if [request.cell for request, _ in requests] != [cell.record] * len(cell.parts):
            yield f"its cell '{cell.record.label}' is not asked, or was defined otherwise"
        elif _images(cell) != [_asked_images(*each) for each in requests]:
            yield f"its cell '{cell.record.label}' has other images, of another --limit or release"
        elif other := [part.threads for part in cell.parts if part.threads != threads]:
            yield f"it was made with --threads {other[0]}, and {threads} are asked"


def _words(suite: SuiteRecord | None) -> str:
    if suite is None:
        return "no suite"
    limit = "no limit" if suite.limit is None else f"limit {suite.limit:,}"
    return f"the suite '{suite.name}' ({suite.sha256[:8]}, {limit})"


def _images(cell: CellResult) -> list[tuple[str, int]]:
    return [(part.release.content_sha256, part.n_images) for part in cell.parts]


def _asked_images(request: Request, release: Release) -> tuple[str, int]:
    available = sum(len(release.split(task, "test")) for task in request.tasks or release.tasks)
    return release.content_sha256, available if request.limit is None else min(available, request.limit)
