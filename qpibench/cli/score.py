"""``qpibench score``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.answer import Answer
from qpibench.cli.models import result_fields, result_text, score_to_files
from qpibench.cli.options import FILE, keep_apart, output_option, release_option, report_option, subcommand


@subcommand("score")
@click.argument("predictions", type=FILE)
@release_option
@output_option("RESULT.json", "The result to write; an existing one is replaced.")
@report_option
@click.option("--name", metavar="NAME", help="Name of the entry, where the predictions do not say.")
@click.option(
    "--view",
    type=click.Choice(["image", "raster", "positions"]),
    help="What the entry was shown, where the predictions do not say.",
)
def command(
    *, predictions: Path, release_path: Path, output: Path, report: Path | None, name: str | None, view: str | None
) -> Answer:
    """Score a PREDICTIONS file, ours or anybody's.

    qpibench score predictions.h5 --release mini.h5 -o result.json --report report.html
    """
    from qpibench.release import open_release

    keep_apart([output, report], [predictions, release_path])
    with open_release(release_path) as release:
        result = score_to_files(predictions, release, output, report, name=name, view=view)
    return Answer(
        text=result_text(result, output, report),
        fields=result_fields(result, output, report),
        warnings=[
            f"{task.n_failed:,} of {task.n_images:,} images of task '{name}' have no finite prediction and count as"
            " failed."
            for name, task in result.tasks.items()
            if task.n_failed
        ],
    )
