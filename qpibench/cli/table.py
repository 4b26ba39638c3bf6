"""Tables in plain text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qpibench.cli.terminal import NAME_WIDTH, shortened

if TYPE_CHECKING:
    from qpibench.evaluation.result import Result
    from qpibench.leaderboard.overview import Overview
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


def suite_table(result: Result) -> str:
    """Return a table with a row for every cell of a suite: its primary score, or why the entry has none."""
    from qpibench.evaluation.joining import family_scores
    from qpibench.pages.notation import interval, number

    rows = [["", "ranked by", "score", "images", ""]]
    for name, cell in result.cells.items():
        families = family_scores(cell.parts) if len(cell.families) > 1 else {}
        apart = ", ".join(f"{family} {number(scores[cell.primary].value)}" for family, scores in families.items())
        failed = f"{cell.n_failed:,} failed" if cell.n_failed else ""
        score = " ".join(interval(cell.metrics[cell.primary]))
        rows.append([shortened(name), cell.primary, score, f"{cell.n_images:,}", apart or failed])
    rows += [[shortened(name), "", "not applicable", "", reason] for name, reason in result.not_applicable.items()]
    return aligned(rows)


def overview_table(overview: Overview) -> str:
    """Return the mean scores of results on tracks; empty if there are no tracks."""
    from qpibench.pages.notation import number

    if not overview.columns:
        return ""
    heads = [
        f"{column.title}, {column.view or 'no scores'}{', open' if column.is_open else ''}"
        for column in overview.columns
    ]
    rows = [["", *map(shortened, heads)]]
    for row in overview.rows:
        scores = ("-" if place.score is None else number(place.score) for place in row.places)
        rows.append([shortened(row.title), *scores])
    return aligned(rows)


def floor_table(result: Result) -> str:
    """Return the floor and the error added to it for the board's means over images; empty if no cell has a floor."""
    from qpibench.evaluation.metrics import all_metrics, in_order, on_board
    from qpibench.pages.notation import number

    known = all_metrics()
    floors = {name: cell.floor for name, cell in result.cells.items() if cell.floor is not None}
    added_to = on_board(name for floor in floors.values() for name in floor.added)
    shown = [name for name in added_to if not known[name].counts_failures]
    if not shown:
        return ""
    primary = in_order(cell.primary for cell in result.cells.values())
    rows = [["floor + added", *map(shortened, floors)]]
    for metric in (*(name for name in primary if name in shown), *(name for name in shown if name not in primary)):
        cells = []
        for floor in floors.values():
            added = floor.added.get(metric)
            sign = "-" if added is not None and added.value < 0 else "+"
            cells.append(
                "-" if added is None else f"{number(floor.metrics[metric].value)} {sign} {number(abs(added.value))}"
            )
        rows.append([metric, *cells])
    return aligned(rows)


def standings_table(table: Table, standings: Sequence[Standing]) -> str:
    """Return the ranks with the primary score and, if an entry has it, the mean absolute error."""
    from qpibench.evaluation.metrics import on_board
    from qpibench.pages.notation import interval

    images = f"{table.n_images:,} of {table.n_whole:,} images"
    maps = "no maps" if table.map_mode is None else f"{table.map_mode} maps"
    maps += ", species hidden" if (table.told_species, table.view) == (False, "positions") else ""
    cell = "" if table.cell is None else f"{shortened(table.cell.label)}: "
    head = f"{cell}{shortened(table.release_names, 2 * NAME_WIDTH)}, {table.task}, view {table.view}, {maps}, {images}"
    others = on_board(name for standing in standings for name in standing.cell.metrics if name != table.primary)
    beside = ["mae"] if "mae" in others else others[:1]
    floors = [
        None if standing.cell.floor is None else standing.cell.floor.metrics.get(table.primary)
        for standing in standings
    ]
    with_floor = any(floor is not None for floor in floors)
    rows = [["rank", "entry", table.primary, *(["its floor"] if with_floor else []), *beside, ""]]
    for standing, floor in zip(standings, floors, strict=True):
        scores = [
            standing.primary,
            *([floor] if with_floor else []),
            *(standing.cell.metrics.get(name) for name in beside),
        ]
        values = ("-" if score is None else " ".join(interval(score)) for score in scores)
        rank = "-" if standing.rank is None else f"{standing.rank}{'=' if standing.tied else ''}"
        # The heading of the table names the subset.
        marks = ", ".join(_mark(standing, mark) for mark in standing.marks if mark != "subset")
        rows.append([rank, shortened(standing.result.model.name), *values, marks])
    return f"{head}\n{aligned(rows)}"


def _mark(standing: Standing, mark: str) -> str:
    return f"partial {standing.trained_percent} %" if mark == "partial" else mark
