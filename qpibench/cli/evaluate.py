"""``qpibench evaluate``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from qpibench.cli.answer import Answer
from qpibench.cli.models import ModelOptions, model_answer, result_fields, result_text, run_model, score_to_files
from qpibench.cli.options import (
    FILE,
    keep_apart,
    model_options,
    output_option,
    release_option,
    report_option,
    subcommand,
    writable,
)


@subcommand("evaluate")
@click.argument("model")
@release_option
@output_option("RESULT.json", "The result to write; an existing one is replaced.")
@report_option
@click.option("--predictions", type=FILE, callback=writable, metavar="FILE", help="Also keep what the model answered.")
@model_options
def command(
    *, model: str, release_path: Path, output: Path, report: Path | None, predictions: Path | None, **options: Any
) -> Answer:
    """Let MODEL predict the kernels of a release's test images, and score it: predict and score in one.

    MODEL is a file, FILE.py:NAME, the name of an entry such as tikhonov, or a run folder of train. It runs in a process
    of its own, within limits of time and memory, and is shown the inputs only. That contains accidents; hostile code
    belongs in a container.

      qpibench evaluate my_model.py --release mini.h5 -o result.json --report report.html
      qpibench evaluate tikhonov --release paper.h5 --map paper --limit 500 -o tikhonov.json
      qpibench evaluate runs/two_step --release paper.h5 --view raster --map paper -o two_step.json
    """
    from qpibench.evaluation.entries import find_entry
    from qpibench.release import open_release

    keep_apart([output, report, predictions], [release_path, *find_entry(model).files])
    with tempfile.TemporaryDirectory(prefix="qpibench-") as folder, open_release(release_path) as release:
        answers = predictions or Path(folder) / "predictions.h5"
        outcome = run_model(model, release, answers, ModelOptions(**options))
        result = score_to_files(answers, release, output, report)
    return model_answer(outcome, text=result_text(result, output, report), fields=result_fields(result, output, report))
