"""``qpibench leaderboard check``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.options import FILE, FOLDER, subcommand
from qpibench.cli.response import Response


@subcommand("check")
@click.argument("result_path", type=FILE, metavar="RESULT")
@click.option(
    "--predictions",
    type=FILE,
    multiple=True,
    metavar="PREDICTIONS",
    help="Score these again, and compare; given once for every part of the result.",
)
@click.option("--release", "releases", type=FILE, multiple=True, metavar="RELEASE", help="A release that they are for.")
@click.option("--data", type=FOLDER, metavar="DIR", help="Folder of releases, as that of evaluate --data.")
def command(
    *, result_path: Path, predictions: tuple[Path, ...], releases: tuple[Path, ...], data: Path | None
) -> Response:
    """Check that RESULT is a valid result file and, if its predictions are given, that they give its scores.

    qpibench leaderboard check result.json
    qpibench leaderboard check result.json --predictions predictions.h5 --release mini.h5
    """
    from qpibench.leaderboard.check import check_result, releases_in

    if data is not None:
        releases = (*releases, *releases_in(data, result_path, predictions))
    _, derived = check_result(result_path, predictions, releases)
    if derived:
        said = "is what its predictions give."
    elif predictions:
        said = "is what these predictions give, but it has parts of others, which were not re-derived."
    else:
        said = "is consistent, but not re-derived."
    return Response(text=f"{result_path} {said}", fields={"path": str(result_path), "derived": derived})
