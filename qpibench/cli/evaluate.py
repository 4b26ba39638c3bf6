"""``qpibench evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qpibench.cli.asked import DATA, asked_files, asked_on, check_place
from qpibench.cli.models import (
    Asked,
    ModelOptions,
    model_response,
    result_fields,
    result_text,
    run_cells,
    run_model,
    score_file,
    write_report,
)
from qpibench.cli.options import (
    OUTPUT_FILE,
    dask_option,
    data_option,
    keep_apart,
    model_options,
    output_option,
    releases_option,
    report_option,
    subcommand,
)
from qpibench.cli.response import Response
from qpibench.errors import QpibenchError, UsageError

if TYPE_CHECKING:
    from qpibench.cluster.client import Place
    from qpibench.evaluation.answers import Answers
    from qpibench.evaluation.entries import Entry
    from qpibench.evaluation.result import CellResult, Result, SuiteRecord
    from qpibench.tasks.suite import Suite


@subcommand("evaluate")
@click.argument("model")
@releases_option(required=False)
@click.option("--suite", "suite_name", metavar="SUITE", help="Evaluate on a suite, a name or a TOML file.")
@data_option("a suite or a track", f"  [default with --suite: {DATA}]")
@output_option("RESULT.json", "The result to write; an existing one is replaced.")
@report_option
@click.option("--predictions", type=OUTPUT_FILE, metavar="FILE", help="Also write the predictions.")
@click.option("--resume", is_flag=True, help="Keep the cells that RESULT.json has; without it, start afresh.")
@dask_option("Predict")
@model_options
def command(
    *,
    model: str,
    release_paths: tuple[Path, ...],
    suite_name: str | None,
    data: Path | None,
    output: Path,
    report: Path | None,
    predictions: Path | None,
    resume: bool,
    place: Place | None,
    **options: Any,
) -> Response:
    """Predict the kernels of test images with MODEL and score them: predict and score in one command.

    MODEL is a file, FILE.py:NAME, the name of an entry such as tikhonov, or a run folder of train. It runs in its own
    process, with limits on time and memory, and receives inputs only. This contains accidents; run hostile code in a
    container.

      qpibench evaluate my_model.py --suite quick -o result.json
      qpibench evaluate my_model.py --release mini.h5 -o result.json --report report.html
      qpibench evaluate tikhonov --track paper --data releases -o tikhonov.json

    A suite has cells of several tracks. Their releases are those of --release, and of the folder of --data, in which
    missing ones are generated.
    The result has a score for every cell, or the reason why the model cannot take it. With --track the result holds
    the cells of a track. Reports and predictions have one file per cell, such as tikhonov-id.html, and one per release
    where a cell has several. The file that --report names then has the scores of all cells, with links to their
    reports, the scores against the noise and the gap between kernels seen and unseen.

    The result is written after each cell. --resume continues an interrupted run: it evaluates the cells that the result
    lacks, those in which the model failed, and those without the files that --report and --predictions ask for, whose
    scores stay until new ones replace them. Files of the other cells stay as they are. A result of another model, suite
    or subset is refused. Give the same --seed and limits as before, which a result does not have.

    On dask workers (docs/scale.md), which must see the model and the releases under the same paths:

      qpibench evaluate tikhonov --suite v1 --dask local:8 -o tikhonov.json
    """
    from qpibench.evaluation.entries import find_entry
    from qpibench.evaluation.gathering import Gathering
    from qpibench.evaluation.isolation.parent import closed_parent
    from qpibench.evaluation.isolation.process import guarded_folder
    from qpibench.evaluation.result import SuiteRecord
    from qpibench.evaluation.run_report import run_report
    from qpibench.tasks.subset import check_limit

    given = ModelOptions(**options)
    suite = _suite(suite_name, release_paths, data, given)
    if given.limit is not None:
        check_limit(given.limit)  # before releases are generated
    if suite is not None:
        given = replace(given, limit=min((n for n in (suite.limit, given.limit) if n is not None), default=None))
    if resume and suite is None and given.track is None:
        raise UsageError("--resume continues with the cells of a suite or a track; add --suite or --track.")
    entry = find_entry(model)  # before releases are generated
    with ExitStack() as stack:
        asked = asked_on(suite, release_paths, data, given, stack)
        files = [path for each in asked for path in each.files]
        read = [*files, *entry.files, *asked_files(suite_name, given.track)]
        keep_apart([output, report, predictions], read)
        # Also while scores are computed: a model may leave processes behind.
        stack.enter_context(closed_parent(files))
        folder = stack.enter_context(guarded_folder()).path
        for each in asked:
            keep_apart([output, *(each.place(path) for path in (report, predictions) if path is not None)], read)
        record = None if suite is None else SuiteRecord.of(suite, limit=given.limit)
        former = _former(output, entry, asked, record, given) if resume else None
        gathering = Gathering(
            output,
            [each.label for each in asked],
            suite=record,
            former=former,
            again=_without_files(asked, former, report, predictions),
        )
        wanted = [each for each in asked if each.label not in gathering.kept]
        on_workers = None
        if place is not None and wanted:
            hidden = [] if predictions is None else [each.place(predictions) for each in wanted]
            on_workers = stack.enter_context(_on_workers(place, entry, wanted, given, hidden))

        def run(each: Asked) -> Response:
            report_path = None if report is None else each.place(report)
            written = folder / "predictions.h5" if predictions is None else each.place(predictions)
            outcome = run_model(model, each, written, given, answers=on_workers and on_workers(each))
            result = score_file(written, each.release)
            gathering.add(each.label, result)
            write_report(result, written, each.release, report_path)
            return model_response(
                outcome,
                text=result_text(result, output, report_path),
                fields=result_fields(result, output, report_path),
            )

        try:
            response = run_cells(
                wanted,
                run,
                not_applicable=None if suite is None else gathering.not_applicable,
                required=not gathering.kept,
            )
        except KeyboardInterrupt:
            if not gathering.saved:
                raise KeyboardInterrupt("") from None
            gathering.save()  # the last writing may have been interrupted
            told = f"'{output}' has {len(gathering.saved)} of {gathering.count} cells; --resume evaluates the others"
            if suite is None and given.track is None:
                told = f"'{output}' is written{'' if report is None else ', its report is not'}"
            raise KeyboardInterrupt(f"Interrupted; {told}.") from None
        several = len(asked) > 1 or suite is not None
        if several or gathering.kept:
            whole = gathering.finish()
            if several and report is not None:
                run_report(whole, report, reports=_reports(asked, whole, report))
            response = replace(
                response,
                text=result_text(whole, output, report),
                fields=result_fields(whole, output, report),
            )
        return response


@contextmanager
def _on_workers(
    place: Place, entry: Entry, asked: Sequence[Asked], options: ModelOptions, hidden: Sequence[Path]
) -> Iterator[Callable[[Asked], Answers]]:
    """Return the function from a request to the model on workers."""
    from qpibench.cluster.client import visible_devices
    from qpibench.cluster.evaluation import model_on_workers
    from qpibench.cluster.tasks import RESUME

    pairs = [(each.request, each.release) for each in asked]
    with model_on_workers(
        entry,
        pairs,
        options.execution(),
        place=place,
        hidden=hidden,
        devices=len(visible_devices()) if place.kind == "local" else 0,
        remedy=RESUME if asked[0].label else "run the same command again",
    ) as model:
        yield lambda each: model.answers((each.request, each.release))


def _reports(asked: Sequence[Asked], result: Result, report: Path) -> dict[str, list[str]]:
    """Return the names of the reports of each cell of a result, by TRACK/CELL."""
    labels = {cell.record.label for cell in result.cells.values() if cell.record is not None}
    found: dict[str, list[str]] = {}
    for each in (each for each in asked if each.label in labels):
        found.setdefault(each.label, []).append(each.place(report).name)
    return found


def _former(
    output: Path, entry: Entry, asked: Sequence[Asked], suite: SuiteRecord | None, options: ModelOptions
) -> Result | None:
    """Return the result so far; None if there is none."""
    from qpibench.evaluation.resumed import finished

    if not output.exists():
        return None
    pairs = [(each.request, each.release) for each in asked]
    result = finished(output, entry, pairs, suite=suite, threads=options.threads)
    return result if result.cells else None


def _without_files(
    asked: Sequence[Asked], former: Result | None, report: Path | None, predictions: Path | None
) -> set[str]:
    """Return the cells of a result that lack a wanted file."""
    cells = () if former is None else former.cells.values()
    of_label = {cell.record.label: cell for cell in cells if cell.record is not None}
    return {
        each.label
        for each in asked
        if each.label in of_label and not _has_files(each, of_label[each.label], report, predictions)
    }


def _has_files(each: Asked, cell: CellResult, report: Path | None, predictions: Path | None) -> bool:
    """Whether the wanted files of a request exist, and its predictions are those of the result."""
    from qpibench.evaluation.predictions import open_predictions

    if report is not None and not each.place(report).exists():
        return False
    if predictions is None:
        return True
    try:
        with open_predictions(each.place(predictions), each.release) as opened:
            return opened.sha256() in {part.predictions_sha256 for part in cell.parts}
    except QpibenchError:
        return False


def _suite(name: str | None, release_paths: Sequence[Path], data: Path | None, options: ModelOptions) -> Suite | None:
    """Load the suite, if one is asked; refuse options that contradict each other."""
    from qpibench.tasks.suite import load_suite

    if name is None:
        check_place(release_paths, data, options, also="--suite SUITE, ")
        return None
    for option, value in {"--track": options.track, **options.requests}.items():
        if value:
            raise UsageError(f"A suite says what is asked and shown; leave out {option}, or --suite.")
    return load_suite(name)
