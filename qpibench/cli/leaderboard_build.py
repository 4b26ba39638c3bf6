"""``qpibench leaderboard build``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.answer import Answer
from qpibench.cli.options import FILE, subcommand


@subcommand("build")
@click.argument("results_dir", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, metavar="SITE", help="The folder to write.")
def command(*, results_dir: Path, output: Path) -> Answer:
    """Make the leaderboard page from the result files in the folder RESULTS_DIR.

    qpibench leaderboard build results -o site
    """
    from qpibench.cli.table import standings_table
    from qpibench.leaderboard.build import build_leaderboard

    tracks = build_leaderboard(results_dir, output)
    page = output / "index.html"
    entries = sum(map(len, tracks.values()))
    tables = (standings_table(track, standings) for track, standings in tracks.items())
    return Answer(
        text="\n\n".join([*tables, f"{page}: {entries:,} standings on {len(tracks):,} tracks"]),
        fields={"path": str(page), "tracks": len(tracks), "standings": entries},
    )
