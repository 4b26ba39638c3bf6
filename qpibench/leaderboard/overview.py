"""The first table of the board: every entry on every track, one number each, with links to the tables of the cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qpibench.evaluation.metrics import all_metrics
from qpibench.leaderboard.standings import Standing, Table, track_titles


@dataclass(frozen=True, kw_only=True)
class Place:
    """An entry on a track.

    Attributes
    ----------
    score
        Mean of the ranking scores of the track's cells; None if the entry has no score for one of them.
    cells
        Number of cells of the track that the entry has scores for.
    marks
        Marks of the scores, such as ``partial``; see :attr:`qpibench.leaderboard.standings.Standing.marks`. Without
        ``unfinished``, which is said of the entry.
    reason
        Why there is no score.
    """

    score: float | None
    cells: int
    marks: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Column:
    """A track, or the part of its cells that share a view; cells that no entry has a score for have a column too.

    Attributes
    ----------
    track, view
        Name of the track, and what its cells show. Of several tracks with one name each has its hash behind the name.
        The view is None for cells without a score.
    is_open
        Whether the entries know the families of the kernels; such entries have a column of their own.
    primary
        The metric that ranks its cells; None for cells without a score.
    cells
        Names of the cells, in the order of the tables.
    tables
        Numbers of their tables in the board, beginning with 1; empty for cells without a score.
    """

    track: str
    view: str | None
    is_open: bool
    primary: str | None
    cells: tuple[str, ...]
    tables: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Entries by tracks.

    Attributes
    ----------
    columns
        The tracks.
    rows
        The places of each entry by its name, one for each column; the entry with the most scores first, then by the
        mean of its scores, taken as negative where more is better.
    unfinished
        Names of the entries with a result whose evaluation was interrupted.
    """

    columns: tuple[Column, ...]
    rows: Mapping[str, tuple[Place, ...]]
    unfinished: frozenset[str]


def overview(tables: Mapping[Table, Sequence[Standing]]) -> Overview:
    """Return entries by tracks; results outside of tracks have no place in it.

    A cell counts with the largest of its subsets, because scores of other images cannot be compared. For the same
    reason entries that know the families of the kernels are in other columns than those that do not.
    """
    titles, tables_of = track_titles(tables), list(tables.values())
    chosen: dict[tuple[str, str, bool, str], dict[str, tuple[int, Sequence[Standing]]]] = {}
    for number, (table, members) in enumerate(tables.items(), 1):
        if table.cell is not None:
            cells = chosen.setdefault((titles[table.heading], table.view, table.is_open, table.primary), {})
            cells.setdefault(table.cell.cell, (number, members))  # larger subsets come first
    columns = [
        Column(
            track=track,
            view=view,
            is_open=is_open,
            primary=primary,
            cells=tuple(cells),
            tables=tuple(number for number, _ in cells.values()),
        )
        for (track, view, is_open, primary), cells in chosen.items()
    ]
    for column in _unscored(tables):
        place = next((i for i, other in enumerate(columns) if other.track > column.track), len(columns))
        columns.insert(place, column)
    of_column = [[tables_of[number - 1] for number in column.tables] for column in columns]
    reasons = {
        (standing.result.model.name, cell): reason
        for members in tables.values()
        for standing in members
        for cell, reason in standing.result.not_applicable.items()
    }
    # Of the same cell there are tables of other images, and of entries that know its kernels.
    reasons |= {
        (standing.result.model.name, table.cell.label): f"{table.cell.label} was evaluated, in another table"
        for table, members in tables.items()
        if table.cell is not None
        for standing in members
    }
    names = dict.fromkeys(
        standing.result.model.name for members in (m for cells in of_column for m in cells) for standing in members
    )
    rows = {
        name: tuple(_place(name, column, cells, reasons) for column, cells in zip(columns, of_column, strict=True))
        for name in names
    }
    known = all_metrics()
    signs = [-1 if column.primary and known[column.primary].better == "higher" else 1 for column in columns]
    unfinished = {s.result.model.name for members in tables.values() for s in members if "unfinished" in s.marks}
    return Overview(
        columns=tuple(columns),
        rows=dict(sorted(rows.items(), key=lambda row: _order(row, signs))),
        unfinished=frozenset(unfinished),
    )


def _unscored(tables: Mapping[Table, Sequence[Standing]]) -> tuple[Column, ...]:
    """Return a column for the cells of each track that are not applicable to some entry, and that none has a score for.

    Only their labels are known, from the results.
    """
    scored = {table.cell.label for table in tables if table.cell is not None}
    results = {standing.file: standing.result for members in tables.values() for standing in members}
    tracks: dict[str, dict[str, None]] = {}
    for label in (label for _, result in sorted(results.items()) for label in result.not_applicable):
        if label not in scored:
            track, _, cell = label.partition("/")
            tracks.setdefault(track, {})[cell] = None
    return tuple(
        Column(track=track, view=None, is_open=False, primary=None, cells=tuple(cells), tables=())
        for track, cells in sorted(tracks.items())
    )


def _place(
    name: str, column: Column, cells: Sequence[Sequence[Standing]], reasons: Mapping[tuple[str, str], str]
) -> Place:
    found = [next((each for each in members if each.result.model.name == name), None) for members in cells]
    scored = [each for each in found if each is not None]
    missing = [cell for cell, each in zip(column.cells, found, strict=True) if each is None] if found else column.cells
    reason = ""
    if missing:
        label = f"{column.track}/{missing[0]}"
        reason = reasons.get((name, label), f"{label} was not evaluated")
    return Place(
        score=None if missing else math.fsum(each.primary.value for each in scored) / len(scored),
        cells=len(scored),
        marks=tuple(dict.fromkeys(mark for each in scored for mark in each.marks if mark != "unfinished")),
        reason=reason,
    )


def _order(row: tuple[str, tuple[Place, ...]], signs: Sequence[int]) -> tuple[int, float, str]:
    scores = [sign * place.score for sign, place in zip(signs, row[1], strict=True) if place.score is not None]
    return -len(scores), math.fsum(scores) / max(1, len(scores)), row[0]
