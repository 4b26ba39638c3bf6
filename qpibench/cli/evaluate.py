"""``qpibench evaluate``."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    OUTPUT_FILE,
    keep_apart,
    model_options,
    output_option,
    releases_option,
    report_option,
    subcommand,
)
from qpibench.cli.response import Response


@subcommand("evaluate")
@click.argument("model")
@releases_option
@output_option("RESULT.json", "The result to write; an existing one is replaced.")
@report_option
@click.option("--predictions", type=OUTPUT_FILE, metavar="FILE", help="Also write the predictions.")
@model_options
def command(
    *,
    model: str,
    release_paths: tuple[Path, ...],
    output: Path,
    report: Path | None,
    predictions: Path | None,
    **options: Any,
) -> Response:
    """Predict the kernels of a release's test images with MODEL and score them: predict and score in one command.

    MODEL is a file, FILE.py:NAME, the name of an entry such as tikhonov, or a run folder of train. It runs in its own
    process, with limits on time and memory, and receives inputs only. This contains accidents; run hostile code in a
    container.

    With --track the result holds every cell. Reports and predictions have one file per cell, such as tikhonov-id.html,
    and one per release where a cell has several.

      qpibench evaluate my_model.py --release mini.h5 -o result.json --report report.html
      qpibench evaluate tikhonov --release paper.h5 --track paper -o tikhonov.json
      qpibench evaluate runs/two_step --release paper.h5 --view raster --map paper -o two_step.json
    """
    from qpibench.evaluation.entries import find_entry
    from qpibench.evaluation.isolation.parent import closed_parent
    from qpibench.evaluation.joining import join
    from qpibench.evaluation.result import Result
    from qpibench.evaluation.result_file import save_result
    from qpibench.release import open_release

    given = ModelOptions(**options)
    read = [*release_paths, *find_entry(model).files]
    keep_apart([output, report, predictions], read)
    with ExitStack() as stack:
        # Also while scores are computed: a model may leave processes behind.
        stack.enter_context(closed_parent(release_paths))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qpibench-")))
        asked = given.asked([stack.enter_context(open_release(path)) for path in release_paths])
        for each in asked:
            keep_apart([output, *(each.place(path) for path in (report, predictions) if path is not None)], read)
        results: list[Result] = []

        def run(each: Asked) -> Response:
            report_path = None if report is None else each.place(report)
            written = folder / "predictions.h5" if predictions is None else each.place(predictions)
            outcome = run_model(model, each, written, given)
            results.append(score_file(written, each.release))
            # Written after every cell, so that an interrupted run keeps the cells it has finished.
            save_result(join(results), output)
            write_report(results[-1], written, each.release, report_path)
            return model_response(
                outcome,
                text=result_text(results[-1], output, report_path),
                fields=result_fields(results[-1], output, report_path),
            )

        response = run_cells(asked, run)
        if len(results) > 1:
            response = replace(
                response,
                text=result_text(join(results), output, None),
                fields=result_fields(join(results), output, None),
            )
        return response
