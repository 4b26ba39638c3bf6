"""``qpibench evaluate``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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
    FOLDER,
    OUTPUT_FILE,
    keep_apart,
    model_options,
    output_option,
    releases_option,
    report_option,
    subcommand,
)
from qpibench.cli.progress import progress
from qpibench.cli.response import Response
from qpibench.errors import UsageError

if TYPE_CHECKING:
    from qpibench.release import Release
    from qpibench.tasks.suite import Suite, SuiteCell

DATA = Path("qpibench-data")
"""Default folder of the releases of a suite."""


@subcommand("evaluate")
@click.argument("model")
@releases_option(required=False)
@click.option("--suite", "suite_name", metavar="SUITE", help="Evaluate on a suite, a name or a TOML file.")
@click.option(
    "--data",
    type=FOLDER,
    metavar="DIR",
    help=f"Folder of the releases of a suite or a track; missing ones are generated.  [default with --suite: {DATA}]",
)
@output_option("RESULT.json", "The result to write; an existing one is replaced.")
@report_option
@click.option("--predictions", type=OUTPUT_FILE, metavar="FILE", help="Also write the predictions.")
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
    where a cell has several.
    """
    from qpibench.evaluation.entries import find_entry
    from qpibench.evaluation.isolation.parent import closed_parent
    from qpibench.evaluation.joining import join
    from qpibench.evaluation.result import Result, SuiteRecord
    from qpibench.evaluation.result_file import save_result

    given = ModelOptions(**options)
    suite = _suite(suite_name, release_paths, data, given)
    if suite is not None:
        given = replace(given, limit=min((n for n in (suite.limit, given.limit) if n is not None), default=None))
    entry = find_entry(model)  # before releases are generated
    with ExitStack() as stack:
        asked = _asked(suite, release_paths, data, given, stack)
        files = [path for each in asked for path in each.files]
        read = [*files, *entry.files]
        keep_apart([output, report, predictions], read)
        # Also while scores are computed: a model may leave processes behind.
        stack.enter_context(closed_parent(files))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qpibench-")))
        for each in asked:
            keep_apart([output, *(each.place(path) for path in (report, predictions) if path is not None)], read)
        results: list[tuple[Asked, Result]] = []
        record = None if suite is None else SuiteRecord.of(suite, limit=given.limit)
        not_applicable: dict[str, str] = {}
        last = {each.label: each for each in asked}
        saved: list[str] = []

        def joined() -> Result:
            whole = [result for each, result in results if each.label not in not_applicable]
            return join(whole, suite=record, not_applicable=not_applicable)

        def run(each: Asked) -> Response:
            report_path = None if report is None else each.place(report)
            written = folder / "predictions.h5" if predictions is None else each.place(predictions)
            outcome = run_model(model, each, written, given)
            result = score_file(written, each.release)
            results.append((each, result))
            # Written after the last part of every cell, so that an interrupted run keeps the cells it has finished.
            if each is last[each.label]:
                save_result(joined(), output)
                saved.append(each.label)
            write_report(result, written, each.release, report_path)
            return model_response(
                outcome,
                text=result_text(result, output, report_path),
                fields=result_fields(result, output, report_path),
            )

        try:
            response = run_cells(asked, run, not_applicable=None if suite is None else not_applicable)
        except KeyboardInterrupt:
            told = f"Interrupted; '{output}' has {len(saved)} of {len(last)} cells." if saved else ""
            raise KeyboardInterrupt(told) from None
        if len(results) > 1 or suite is not None:
            save_result(joined(), output)
            response = replace(
                response,
                text=result_text(joined(), output, None),
                fields=result_fields(joined(), output, None),
            )
        return response


def _suite(name: str | None, release_paths: Sequence[Path], data: Path | None, options: ModelOptions) -> Suite | None:
    """Load the suite, if one is asked; refuse options that contradict each other."""
    from qpibench.tasks.suite import load_suite

    if name is None:
        if not release_paths and data is None:
            raise UsageError("Say what to evaluate on: --suite SUITE, --release RELEASE, or --track TRACK --data DIR.")
        if data is not None and options.track is None:
            raise UsageError("--data is the folder of the releases of a suite or a track; add --suite or --track.")
        return None
    for option, value in {"--track": options.track, **options.requests}.items():
        if value:
            raise UsageError(f"A suite says what is asked and shown; leave out {option}, or --suite.")
    return load_suite(name)


def _asked(
    suite: Suite | None, release_paths: Sequence[Path], data: Path | None, options: ModelOptions, stack: ExitStack
) -> tuple[Asked, ...]:
    """Return the requests to the model, with their releases open until the stack ends."""
    from qpibench.release import open_release
    from qpibench.tasks.suite import SuiteCell
    from qpibench.tasks.track import find_cells

    given = [stack.enter_context(open_release(path)) for path in release_paths]
    if suite is None and data is None:
        return options.asked(given)
    if suite is not None:
        cells: Sequence[SuiteCell] = suite.cells
    else:
        options.refuse_requests()
        track, names = find_cells(options.track or "")
        cells = [SuiteCell(track, name) for name in names]
    return options.asked_by_cells(cells, _releases(cells, given, data or DATA, stack))


def _releases(cells: Sequence[SuiteCell], given: Sequence[Release], data: Path, stack: ExitStack) -> dict[str, Release]:
    """Return the releases of cells by the hash of their spec: those given, and the others of the folder.

    Those that the folder lacks are generated.
    """
    from qpibench.release.store import stored_releases
    from qpibench.synthesis import get_backend
    from qpibench.tasks.suite import specs_of

    specs = specs_of(cells)
    releases = {release.spec.sha256: release for release in given}
    for digest, release in releases.items():
        if digest not in specs:
            raise UsageError(f"'{release.path}' is a release of the spec '{release.name}', which no cell names.")
    others = tuple(spec for digest, spec in specs.items() if digest not in releases)
    with progress("Generating") as report:
        stored = stored_releases(others, data, backend=get_backend("cpu")[0], progress=report)
    for release in stored.values():
        stack.enter_context(release)
    return releases | stored
