"""Plain text in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpibench.evaluation.result import Result
    from qpibench.leaderboard.standings import Standing, Table


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length, one on each line, their columns aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def metrics_table(result: Result) -> str:
    """The metrics of every task with their intervals."""
    from qpibench.pages.notation import interval

    tasks = result.tasks
    rows = [["", *(f"{name} ({task.n_images:,} of {task.n_available:,})" for name, task in tasks.items())]]
    for metric in type(next(iter(tasks.values())).metrics).model_fields:
        cells = (" ".join(interval(getattr(task.metrics, metric))) for task in tasks.values())
        rows.append([metric, *cells])
    return aligned(rows)


def standings_table(table: Table, standings: Sequence[Standing]) -> str:
    """The ranks of a table, with the primary score and the mean absolute error."""
    from qpibench.pages.notation import interval

    images = f"{table.n_images:,} of {table.n_whole:,} images"
    maps = "no maps" if table.map_mode is None else f"{table.map_mode} maps"
    cell = "" if table.cell is None else f"{table.cell.label}: "
    head = f"{cell}{table.release_name}, {table.task}, view {table.view}, {maps}, {images}"
    rows = [["rank", "entry", table.primary, "mae", ""]]
    for standing in standings:
        metrics = standing.task.metrics
        cells = (" ".join(interval(each)) for each in (standing.primary, metrics.mae))
        rank = "-" if standing.rank is None else f"{standing.rank}{'=' if standing.tied else ''}"
        # The subset is in the head of the table.
        marks = ", ".join(_mark(standing, mark) for mark in standing.marks if mark != "subset")
        rows.append([rank, standing.result.model.name, *cells, marks])
    return f"{head}\n{aligned(rows)}"


def _mark(standing: Standing, mark: str) -> str:
    return f"partial {standing.trained_percent} %" if mark == "partial" else mark
