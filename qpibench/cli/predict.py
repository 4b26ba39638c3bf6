"""``qpibench predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qpibench.cli.answer import Answer
from qpibench.cli.models import ModelOptions, model_answer, run_model
from qpibench.cli.options import keep_apart, model_options, output_option, release_option, subcommand


@subcommand("predict")
@click.argument("model")
@release_option
@output_option("PREDICTIONS", "The predictions file to write; an existing one is replaced.")
@model_options
def command(*, model: str, release_path: Path, output: Path, **options: Any) -> Answer:
    """Let MODEL predict the kernels of a release's test images, in a process of its own.

    MODEL is a file, FILE.py:NAME, the name of an entry such as tikhonov, or a run folder of train.

      qpibench predict my_model.py --release mini.h5 -o predictions.h5
      qpibench predict tikhonov --release mini.h5 --map exact --task ood --limit 10 -o predictions.h5
    """
    from qpibench.evaluation.entries import find_entry
    from qpibench.release import open_release

    keep_apart([output], [release_path, *find_entry(model).files])
    with open_release(release_path) as release:
        outcome = run_model(model, release, output, ModelOptions(**options))
    record = outcome.record
    seconds = record.run.seconds or 0.0
    return model_answer(
        outcome,
        text=f"{output}: {record.model.name} on {release.name} in {seconds:.2f} s",
        fields={
            "path": str(output),
            "release_sha256": release.content_sha256,
            **record.model_dump(mode="json", exclude={"failure": {"traceback"}}),
        },
    )
