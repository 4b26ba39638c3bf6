"""``qpibench score``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from qpibench.cli.models import result_fields, result_text, score_file, write_report
from qpibench.cli.options import FILE, keep_apart, output_option, releases_option, report_option, subcommand
from qpibench.cli.response import Response
from qpibench.errors import UsageError


@subcommand("score")
@click.argument("predictions", type=FILE, nargs=-1, required=True)
@releases_option(required=True)
@output_option("RESULT.json", "The result to write; an existing one is replaced.")
@report_option
@click.option("--name", metavar="NAME", help="Name of the entry, where the predictions do not say.")
@click.option(
    "--view",
    type=click.Choice(["image", "raster", "positions"]),
    help="What the entry was shown, where the predictions do not say.",
)
def command(
    *,
    predictions: tuple[Path, ...],
    release_paths: tuple[Path, ...],
    output: Path,
    report: Path | None,
    name: str | None,
    view: str | None,
) -> Response:
    """Score one PREDICTIONS file, made by any program, or the files of one entry for all cells of a track.

    qpibench score predictions.h5 --release mini.h5 -o result.json --report report.html
    """
    from qpibench.evaluation.joining import join
    from qpibench.evaluation.predictions import release_of
    from qpibench.evaluation.result_file import save_result
    from qpibench.release import open_release

    keep_apart([output, report], [*predictions, *release_paths])
    if report is not None and len(predictions) > 1:
        raise UsageError("A report is of one predictions file; leave out --report, or give one.")
    with ExitStack() as stack:
        releases = [stack.enter_context(open_release(path)) for path in release_paths]
        if report is not None:  # what a report would refuse, before the result is written
            shown = release_of(predictions[0], releases)
            shown.check("image", shown.told_field)
        results = []
        for path in predictions:
            results.append(score_file(path, release_of(path, releases), name=name, view=view))
        result = join(results)
        save_result(result, output)
        write_report(result, predictions[0], release_of(predictions[0], releases), report)
    return Response(
        text=result_text(result, output, report),
        fields=result_fields(result, output, report),
        warnings=[
            f"{cell.n_failed:,} of {cell.n_images:,} images of task '{cell.task}' have no finite prediction and count"
            " as failed."
            for cell in result.cells.values()
            if cell.n_failed
        ],
    )
