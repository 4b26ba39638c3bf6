"""Tables in plain text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qpibench.cli.terminal import NAME_WIDTH, shortened

if TYPE_CHECKING:
    from qpibench.evaluation.result import Result
    from qpibench.leaderboard.standings import Standing, Table


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of equal length as text, one row per line, columns aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def metrics_table(result: Result) -> str:
    """Return a table of every cell's metrics with their intervals."""
    from qpibench.evaluation.metrics import in_order
    from qpibench.pages.notation import interval

    cells = result.cells
    rows = [["", *(f"{shortened(name)} ({cell.n_images:,} of {cell.n_available:,})" for name, cell in cells.items())]]
    for metric in in_order(name for cell in cells.values() for name in cell.metrics):
        scores = (cell.metrics.get(metric) for cell in cells.values())
        rows.append([metric, *("-" if score is None else " ".join(interval(score)) for score in scores)])
    return aligned(rows)


def standings_table(table: Table, standings: Sequence[Standing]) -> str:
    """Return the ranks with the primary score and, if an entry has it, the mean absolute error."""
    from qpibench.evaluation.metrics import on_board
    from qpibench.pages.notation import interval

    images = f"{table.n_images:,} of {table.n_whole:,} images"
    maps = "no maps" if table.map_mode is None else f"{table.map_mode} maps"
    cell = "" if table.cell is None else f"{shortened(table.cell.label)}: "
    head = f"{cell}{shortened(table.release_names, 2 * NAME_WIDTH)}, {table.task}, view {table.view}, {maps}, {images}"
    others = on_board(name for standing in standings for name in standing.cell.metrics if name != table.primary)
    beside = ["mae"] if "mae" in others else others[:1]
    rows = [["rank", "entry", table.primary, *beside, ""]]
    for standing in standings:
        scores = [standing.primary, *(standing.cell.metrics.get(name) for name in beside)]
        values = ("-" if score is None else " ".join(interval(score)) for score in scores)
        rank = "-" if standing.rank is None else f"{standing.rank}{'=' if standing.tied else ''}"
        # The heading of the table names the subset.
        marks = ", ".join(_mark(standing, mark) for mark in standing.marks if mark != "subset")
        rows.append([rank, shortened(standing.result.model.name), *values, marks])
    return f"{head}\n{aligned(rows)}"


def _mark(standing: Standing, mark: str) -> str:
    return f"partial {standing.trained_percent} %" if mark == "partial" else mark
