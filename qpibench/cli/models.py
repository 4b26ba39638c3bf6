"""What the commands that run or score a model share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpibench.cli.answer import Answer, settings
from qpibench.cli.progress import progress

if TYPE_CHECKING:
    from qpibench.evaluation.predict import Execution, PredictOutcome, Request
    from qpibench.evaluation.result import Result
    from qpibench.release import Release


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Values of :data:`qpibench.cli.options.model_options`."""

    tasks: tuple[str, ...]
    view: str
    map_mode: str | None
    limit: int | None
    batch_size: int
    time_limit_s: float
    fit_time_limit_s: float
    memory_limit_gib: float
    seed: int

    def request(self) -> Request:
        """What the model is asked."""
        from qpibench.evaluation.predict import Request

        return Request(tasks=self.tasks, view=self.view, map_mode=self.map_mode, limit=self.limit)

    def execution(self) -> Execution:
        """How it is run."""
        from qpibench.evaluation.isolation.isolated import Limits
        from qpibench.evaluation.predict import Execution

        limits = Limits(batch_s=self.time_limit_s, fit_s=self.fit_time_limit_s, memory_gib=self.memory_limit_gib)
        return Execution(batch_size=self.batch_size, seed=self.seed, limits=limits)


def run_model(model: str, release: Release, path: Path, options: ModelOptions) -> PredictOutcome:
    """Write the predictions of a model."""
    from qpibench.evaluation.predict import predict

    request, execution = options.request(), options.execution()
    with progress("Predicting") as report:
        return predict(model, release, path, request, execution, traceback=settings().traceback, progress=report)


def score_to_files(
    predictions: Path,
    release: Release,
    path: Path,
    report_path: Path | None,
    *,
    name: str | None = None,
    view: str | None = None,
) -> Result:
    """Score a predictions file, and write the result and its report."""
    from qpibench.evaluation.predictions import open_predictions
    from qpibench.evaluation.result import save_result
    from qpibench.evaluation.score import score

    with progress("Scoring") as report:
        result = score(predictions, release, name=name, view=view, progress=report)
    save_result(result, path)
    if report_path is not None:
        from qpibench.evaluation.report import report as write_report

        with open_predictions(predictions, release) as answers:
            write_report(result, answers, release, report_path)
    return result


def model_answer(outcome: PredictOutcome, *, text: str, fields: Mapping[str, Any]) -> Answer:
    """The answer of a command that ran a model, whether or not the model came to its end."""
    failure = outcome.record.failure
    return Answer(
        text=text,
        fields=fields,
        warnings=outcome.warnings,
        error=None
        if failure is None
        else f"The model failed: {failure.message}; what it did not answer counts as failed.",
        traceback="" if failure is None else failure.traceback,
        exit_code=outcome.exit_code,
    )


def result_fields(result: Result, path: Path, report_path: Path | None) -> dict[str, Any]:
    """The result as ``--json`` prints it: its file's content, and where it was written."""
    files = {"path": str(path), "report": None if report_path is None else str(report_path)}
    return files | result.model_dump(mode="json", exclude={"schema_version"})


def result_text(result: Result, path: Path, report_path: Path | None) -> str:
    """The result as people read it."""
    from qpibench.cli.table import metrics_table

    files = f"{path}" if report_path is None else f"{path}, {report_path}"
    return f"{metrics_table(result)}\n{result.model.name} on {result.release.name}, view {result.view}: {files}"
