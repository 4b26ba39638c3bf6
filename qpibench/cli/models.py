"""Requests, settings and output that the commands which run or score a model share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpibench.cli.progress import progress
from qpibench.cli.response import Response, settings
from qpibench.cli.terminal import NAME_WIDTH, shortened
from qpibench.errors import UsageError

if TYPE_CHECKING:
    from qpibench.evaluation.answers import Answers
    from qpibench.evaluation.execution import Execution
    from qpibench.evaluation.predict import PredictOutcome, Request
    from qpibench.evaluation.result import Result
    from qpibench.release import Release
    from qpibench.tasks.suite import SuiteCell


_LISTED = 6
"""Largest number of cells that a message lists."""

_FLOOR = "floor: error of the entry's own decoding of the encoded true kernels; floor + added = score"


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Values of :data:`qpibench.cli.options.model_options`."""

    track: str | None
    tasks: tuple[str, ...]
    view: str | None
    map_mode: str | None
    hide_species: bool
    limit: int | None
    batch_size: int | None
    threads: int
    time_limit_s: float
    fit_time_limit_s: float
    memory_limit_gib: float
    seed: int

    def asked(self, releases: Sequence[Release]) -> tuple[Asked, ...]:
        """Return the request to the model by the options, on the only release."""
        from qpibench.evaluation.predict import Request

        if len(releases) > 1:
            raise UsageError("Several releases are for --track only; give one.")
        request = Request(
            tasks=self.tasks,
            view=self.view or "positions",
            map_mode=self.map_mode,
            limit=self.limit,
            told_species=not self.hide_species,
        )
        return (Asked(request=request, release=releases[0]),)

    @property
    def requests(self) -> dict[str, object]:
        """Options that ask what a track asks, with their values."""
        return {
            "--task": self.tasks,
            "--view": self.view,
            "--map": self.map_mode,
            "--hide-species": self.hide_species,
        }

    def refuse_requests(self) -> None:
        """Raise UsageError for options that ask what a track asks."""
        for option, value in self.requests.items():
            if value:
                raise UsageError(f"A track says what is asked and shown; leave out {option}, or --track.")

    def asked_by_cells(
        self, cells: Sequence[SuiteCell], releases: Mapping[str, Release], *, of_suite: bool
    ) -> tuple[Asked, ...]:
        """Return the requests of cells, with releases by the hash of their spec.

        Files get the names of the cells, unless a track has a single request: the command's files are its own.
        """
        from qpibench.evaluation.cells import requests_of

        many_tracks = len({each.track.name for each in cells}) > 1
        found = [(each, one) for each in cells for one in requests_of(each, releases, limit=self.limit)]
        named = of_suite or len(found) > 1
        return tuple(
            Asked(
                request=one.request,
                release=one.release,
                suffix=f"-{f'{each.track.name}-' if many_tracks else ''}{one.name}" if named else "",
            )
            for each, one in found
        )

    def execution(self) -> Execution:
        """Return the settings of the run: batch size, threads, seed and limits."""
        from qpibench.evaluation.execution import Execution
        from qpibench.evaluation.isolation.isolated import Limits

        limits = Limits(batch_s=self.time_limit_s, fit_s=self.fit_time_limit_s, memory_gib=self.memory_limit_gib)
        return Execution(batch_size=self.batch_size, threads=self.threads, seed=self.seed, limits=limits)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request to a model on a release; ``suffix`` distinguishes the files of several cells."""

    request: Request
    release: Release
    suffix: str = ""

    @property
    def label(self) -> str:
        """``TRACK/CELL``; empty outside of tracks."""
        return "" if self.request.cell is None else self.request.cell.label

    @property
    def files(self) -> tuple[Path, ...]:
        """The release, and the one for training if it is another."""
        training = self.request.training
        return (self.release.path, *(() if training is None else (training.path,)))

    def place(self, path: Path) -> Path:
        """Return the path of this cell's file, where the command was told to write to ``path``."""
        return path.with_name(f"{path.stem}{self.suffix}{path.suffix}")


def run_model(
    model: str, asked: Asked, path: Path, options: ModelOptions, *, answers: Answers | None = None
) -> PredictOutcome:
    """Write the predictions of a model, which is given if it does not run in a process of this machine."""
    from qpibench.evaluation.predict import predict

    with progress("Predicting") as report:
        return predict(
            model,
            asked.release,
            path,
            asked.request,
            options.execution(),
            answers=answers,
            traceback=settings().traceback,
            progress=report,
        )


def run_cells(
    asked: Sequence[Asked],
    run: Callable[[Asked], Response],
    *,
    not_applicable: dict[str, str] | None = None,
    required: bool = True,
) -> Response:
    """Run a command for every cell of a track or a suite; skip cells that the model cannot take.

    The reasons are put into ``not_applicable`` by TRACK/CELL, if it is given, and else are warnings. If ``required``, a
    model that can take no cell is refused.
    """
    from qpibench.evaluation.predict import UnmetNeedError

    if len(asked) == 1 and not_applicable is None and required:
        return run(asked[0])
    ran: list[tuple[Asked, Response]] = []
    unmet: dict[str, str] = {} if not_applicable is None else not_applicable
    for each in asked:
        if each.label in unmet:  # another part of the cell cannot be taken
            continue
        try:
            ran.append((each, run(each)))
        except UnmetNeedError as error:
            unmet.setdefault(each.label, str(error))
    ran = [(each, response) for each, response in ran if each.label not in unmet]
    if not ran and required:
        raise UsageError(f"No cell can be predicted: {next(iter(unmet.values()))}")
    responses = [response for _, response in ran]
    errors = [(each, response.error) for each, response in ran if response.error is not None]
    left_out = [f"Cell '{cell}' is left out: {reason}" for cell, reason in unmet.items()]
    return Response(
        text="\n\n".join(response.text for response in responses),
        fields={"cells": [dict(response.fields) for response in responses]},
        warnings=[
            *(left_out if not_applicable is None else []),
            *_by_cell([(each, warning) for each, response in ran for warning in response.warnings], asked),
        ],
        error=" ".join(_by_cell(errors, asked)) or None,
        traceback="".join(response.traceback for response in responses if response.error is not None),
        exit_code=max((response.exit_code for response in responses), default=0),
    )


def _by_cell(messages: Sequence[tuple[Asked, str]], asked: Sequence[Asked]) -> list[str]:
    """Return each message once, after the cells that it is about; of a part of a cell, the releases are named too."""
    found: dict[str, dict[str, list[str]]] = {}
    for each, message in messages:
        found.setdefault(message, {}).setdefault(each.label, []).append(f"'{each.release.name}'")
    parts = Counter(each.label for each in asked)
    told = []
    for message, cells in found.items():
        names = [
            f"'{cell}'" if len(releases) == parts[cell] else f"'{cell}' on {' and '.join(releases)}"
            for cell, releases in cells.items()
        ]
        more = [f"{len(names) - _LISTED} more"] if len(names) > _LISTED else []
        told.append(f"{'Cell' if len(names) == 1 else 'Cells'} {', '.join([*names[:_LISTED], *more])}: {message}")
    return told


def score_file(predictions: Path, release: Release, *, name: str | None = None, view: str | None = None) -> Result:
    """Score a predictions file."""
    from qpibench.evaluation.score import score

    with progress("Scoring") as report:
        return score(predictions, release, name=name, view=view, progress=report)


def write_report(result: Result, predictions: Path, release: Release, path: Path | None) -> None:
    """Write the report of a predictions file, if one is wanted."""
    if path is None:
        return
    from qpibench.evaluation.predictions import open_predictions
    from qpibench.evaluation.report import report

    with open_predictions(predictions, release) as opened:
        report(result, opened, release, path)


def model_response(outcome: PredictOutcome, *, text: str, fields: Mapping[str, Any]) -> Response:
    """Return the response of a command that ran a model, also if the model failed."""
    failure = outcome.record.failure
    return Response(
        text=text,
        fields=fields,
        warnings=outcome.warnings,
        error=None if failure is None else f"The model failed: {failure.message}; {_extent(outcome)}.",
        traceback="" if failure is None else failure.traceback,
        exit_code=outcome.exit_code,
    )


def _extent(outcome: PredictOutcome) -> str:
    """How far a model came that failed."""
    done, total = outcome.n_predicted, outcome.n_images
    if not done:
        return f"it was stopped before the first of {total:,} images, which all count as failed"
    if done == total:
        return f"all {total:,} images have their predictions"
    return f"it was stopped after {done:,} of {total:,} images; the other {total - done:,} count as failed"


def result_fields(result: Result, path: Path, report_path: Path | None) -> dict[str, Any]:
    """The result as ``--json`` prints it: its file's content, and where it was written."""
    files = {"path": str(path), "report": None if report_path is None else str(report_path)}
    return files | result.model_dump(mode="json", exclude={"schema_version"})


def result_text(result: Result, path: Path, report_path: Path | None) -> str:
    """The result as people read it."""
    from qpibench.cli.table import floor_table, metrics_table, suite_table

    files = f"{path}" if report_path is None else f"{path}, {report_path}"
    cells = result.cells.values()
    tracks = dict.fromkeys(cell.record.label for cell in cells if cell.record is not None)
    where = dict.fromkeys(part.release.name for cell in cells for part in cell.parts)
    views = dict.fromkeys(cell.view for cell in cells)
    on = ", ".join(shortened(name, 2 * NAME_WIDTH) for name in (*tracks, *where))
    told = f"{shortened(result.model.name)} on {on}, view {', '.join(views)}: {files}"
    training = result.model.training
    if training is not None and training.fraction < 1:
        told += f"\npartly trained: {training.steps_done:,} of {training.steps_stated:,} steps"
    floor = floor_table(result)
    if result.suite is not None:
        cut = "" if result.suite.limit is None else f", at most {result.suite.limit:,} images of each release"
        return f"{suite_table(result)}\n{shortened(result.model.name)} on the suite {result.suite.name}{cut}: {files}"
    return "\n".join([metrics_table(result), *([f"{floor}\n{_FLOOR}"] if floor else []), told])
