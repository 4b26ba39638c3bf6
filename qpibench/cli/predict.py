"""``qpibench predict``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from qpibench.cli.asked import asked_files, asked_on, check_place
from qpibench.cli.models import Asked, ModelOptions, model_response, run_cells, run_model
from qpibench.cli.options import data_option, keep_apart, model_options, output_option, releases_option, subcommand
from qpibench.cli.response import Response
from qpibench.cli.terminal import NAME_WIDTH, shortened


@subcommand("predict")
@click.argument("model")
@releases_option(required=False)
@data_option("a track")
@output_option("PREDICTIONS", "The predictions file to write; an existing one is replaced.")
@model_options
def command(
    *, model: str, release_paths: tuple[Path, ...], data: Path | None, output: Path, **options: Any
) -> Response:
    """Predict the kernels of a release's test images with MODEL, which runs in its own process.

    MODEL is a file, FILE.py:NAME, the name of an entry such as tikhonov, or a run folder of train. With --track every
    cell has its own file, such as predictions-id.h5 for the cell id.

      qpibench predict my_model.py --release mini.h5 -o predictions.h5
      qpibench predict tikhonov --release mini.h5 --map exact --task ood --limit 10 -o predictions.h5
      qpibench predict tikhonov --track noise --data releases -o predictions.h5
    """
    from qpibench.evaluation.entries import find_entry

    given = ModelOptions(**options)
    check_place(release_paths, data, given)
    entry = find_entry(model)  # before releases are generated
    with ExitStack() as stack:
        asked = asked_on(None, release_paths, data, given, stack)
        read = [*(path for each in asked for path in each.files), *entry.files, *asked_files(given.track)]
        keep_apart([output], read)
        for each in asked:
            keep_apart([each.place(output)], read)

        def run(each: Asked) -> Response:
            path = each.place(output)
            outcome = run_model(model, each, path, given)
            record = outcome.record
            seconds = record.run.seconds or 0.0
            asked_of = f"{shortened(record.model.name)} on {shortened(each.release.name, 2 * NAME_WIDTH)}"
            return model_response(
                outcome,
                text=f"{path}: {asked_of} in {seconds:.2f} s",
                fields={
                    "path": str(path),
                    "release_sha256": each.release.content_sha256,
                    **record.model_dump(mode="json", exclude={"failure": {"traceback"}}),
                },
            )

        return run_cells(asked, run)
