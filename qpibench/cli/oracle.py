"""``qpibench oracle``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.options import keep_apart, limit_option, output_option, release_option, subcommand, tasks_option
from qpibench.cli.progress import progress
from qpibench.cli.response import Response
from qpibench.cli.terminal import NAME_WIDTH, shortened


@subcommand("oracle")
@click.argument("name", type=click.Choice(["nearest_kernel"]))
@release_option
@output_option("PREDICTIONS", "The predictions file to write; an existing one is replaced.")
@tasks_option
@limit_option
def command(*, name: str, release_path: Path, output: Path, tasks: tuple[str, ...], limit: int | None) -> Response:
    """Predict a release's test images by using the true kernels, as a yardstick for scores.

    nearest_kernel predicts the training kernel that is nearest to the true kernel. No model that only recognises its
    training kernels can do better. The board marks the oracle and gives it no rank.

      qpibench oracle nearest_kernel --release paper.h5 -o nearest_kernel.h5
      qpibench score nearest_kernel.h5 --release paper.h5 -o nearest_kernel.json
    """
    from qpibench.evaluation.oracle import nearest_kernel
    from qpibench.release import open_release

    keep_apart([output], [release_path])
    with open_release(release_path) as release, progress("Looking") as report:
        record = nearest_kernel(release, output, tasks=tasks, limit=limit, progress=report)
    return Response(
        text=f"{output}: {name} on {shortened(release.name, 2 * NAME_WIDTH)}, an oracle",
        fields={"path": str(output), "release_sha256": release.content_sha256, **record.model_dump(mode="json")},
    )
