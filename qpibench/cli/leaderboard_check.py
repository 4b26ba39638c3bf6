"""``qpibench leaderboard check``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.answer import Answer
from qpibench.cli.options import FILE, subcommand


@subcommand("check")
@click.argument("result_path", type=FILE, metavar="RESULT")
@click.option("--predictions", type=FILE, metavar="PREDICTIONS", help="Score these again, and compare.")
@click.option("--release", "release_path", type=FILE, metavar="RELEASE", help="The release they are for.")
def command(*, result_path: Path, predictions: Path | None, release_path: Path | None) -> Answer:
    """Check that RESULT is a valid result file and, with its predictions, that it says what they give.

    qpibench leaderboard check result.json
    qpibench leaderboard check result.json --predictions predictions.h5 --release mini.h5
    """
    from qpibench.leaderboard.check import check_result

    check_result(result_path, predictions, release_path)
    derived = predictions is not None
    return Answer(
        text=f"{result_path} is " + ("what its predictions give." if derived else "consistent, but not re-derived."),
        fields={"path": str(result_path), "derived": derived},
    )
