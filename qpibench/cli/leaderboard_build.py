"""``qpibench leaderboard build``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.options import FILE, OUTPUT_FOLDER, output_option, subcommand
from qpibench.cli.response import Response


@subcommand("build")
@click.argument("results_dir", type=FILE)
@output_option("SITE", "The folder to write.", type=OUTPUT_FOLDER)
def command(*, results_dir: Path, output: Path) -> Response:
    """Build the leaderboard page from the result files in the folder RESULTS_DIR.

    qpibench leaderboard build results -o site
    """
    from qpibench.cli.table import overview_table, standings_table
    from qpibench.leaderboard.build import build_leaderboard
    from qpibench.leaderboard.overview import overview

    tables = build_leaderboard(results_dir, output)
    page = output / "index.html"
    entries = sum(map(len, tables.values()))
    texts = [standings_table(table, standings) for table, standings in tables.items()]
    texts += [text for text in [overview_table(overview(tables))] if text]
    return Response(
        text="\n\n".join([*texts, f"{page}: {entries:,} standings on {len(tables):,} tables"]),
        fields={"path": str(page), "tables": len(tables), "standings": entries},
    )
