"""``qpibench bench report``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.options import FILE, OUTPUT_FOLDER, output_option, subcommand
from qpibench.cli.response import Response
from qpibench.counting import counted


@subcommand("report")
@click.argument("history_dir", type=FILE, default="benchmarks/history")
@output_option("SITE", "The folder to write.", type=OUTPUT_FOLDER)
def command(*, history_dir: Path, output: Path) -> Response:
    """Draw the runs in the folder HISTORY_DIR (by default benchmarks/history) as a page, machine by machine.

    The page marks every step: a change of a figure that lasted.

    qpibench bench report benchmarks/history -o site
    """
    from qpibench.throughput.report import build_report

    sections = build_report(history_dir, output)
    page = output / "index.html"
    runs = sum(len(section.runs) for section in sections.values())
    steps = [
        {
            "machine": machine,
            "figure": course.newest.name,
            "since": run.measured.isoformat(),
            "commit": run.commit,
            "before": step.before,
            "after": step.after,
        }
        for machine, section in sections.items()
        for course, step, run in section.steps
    ]
    counts = f"{counted(runs, 'run')} on {counted(len(sections), 'machine')}, {counted(len(steps), 'step')}"
    return Response(
        text=f"{page}: {counts}",
        fields={"path": str(page), "machines": len(sections), "runs": runs, "steps": steps},
    )
