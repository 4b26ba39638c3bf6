"""The first table of the board: every result on every track, one number each, with links to the tables of the cells."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.result import Result
from qpibench.leaderboard.standings import Standing, Table, entry_titles, track_titles


@dataclass(frozen=True, kw_only=True)
class Place:
    """A result on a track.

    Attributes
    ----------
    score
        Mean of the ranking scores of the track's cells; None if the result has no score for one of them.
    cells
        Number of cells of the track that the result has scores for.
    marks
        Marks of the scores, such as ``partial``; see :attr:`qpibench.leaderboard.standings.Standing.marks`. Without
        ``unfinished``, which is said of the row.
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
    track, title
        Name of the track, and the name to show; see :func:`qpibench.leaderboard.standings.track_titles`.
    cells
        Names of the cells, in the order of the tables.
    tables
        A table of each cell; empty for cells without a score.
    """

    track: str
    title: str
    cells: tuple[str, ...]
    tables: tuple[Table, ...]

    @property
    def view(self) -> str | None:
        """What the cells show; None for cells without a score."""
        return self.tables[0].view if self.tables else None

    @property
    def is_open(self) -> bool:
        """Whether the entries know the families of the kernels; such entries have a column of their own."""
        return bool(self.tables) and self.tables[0].is_open

    @property
    def primary(self) -> str | None:
        """The metric that ranks the cells; None for cells without a score."""
        return self.tables[0].primary if self.tables else None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A result on the tracks.

    Attributes
    ----------
    entry, file
        Name of the entry, and of the result file.
    title
        The name to show; see :func:`qpibench.leaderboard.standings.entry_titles`.
    unfinished
        Whether the evaluation was interrupted.
    places
        One for each column.
    """

    entry: str
    file: str
    title: str
    unfinished: bool
    places: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Results by tracks.

    Attributes
    ----------
    columns
        The tracks.
    rows
        The results; the one with the most scores first, then by the mean of its scores, taken as negative where more is
        better.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def overview(tables: Mapping[Table, Sequence[Standing]]) -> Overview:
    """Return results by tracks; results outside of tracks have no place in it.

    A row is of one result: those of several versions of an entry have rows of their own. A cell counts with the largest
    of its subsets, because scores of other images cannot be compared. For the same reason entries that know the
    families of the kernels are in other columns than those that do not.
    """
    columns = sorted([*_scored(tables), *_unscored(tables)], key=lambda column: column.track)
    scores: dict[str, dict[Table, Standing]] = {}
    for table in (table for column in columns for table in column.tables):
        for standing in tables[table]:
            scores.setdefault(standing.file, {})[table] = standing
    evaluated: dict[str, set[str]] = {file: set() for file in scores}
    for table, members in tables.items():
        if table.cell is not None:
            for file in (standing.file for standing in members if standing.file in scores):
                evaluated[file].add(table.cell.label)
    results = {file: next(iter(of_file.values())).result for file, of_file in scores.items()}
    titles = entry_titles(tables)
    rows = [
        Row(
            entry=result.model.name,
            file=file,
            title=titles[file],
            unfinished=result.status == "unfinished",
            places=tuple(_place(column, scores[file], result, evaluated[file]) for column in columns),
        )
        for file, result in results.items()
    ]
    return Overview(columns=tuple(columns), rows=tuple(sorted(rows, key=lambda row: _order(row, columns))))


def _scored(tables: Mapping[Table, Sequence[Standing]]) -> list[Column]:
    """Return the columns of the cells with scores, in the order of the tables."""
    titles = track_titles(tables)
    chosen: dict[tuple[str, str, str, bool, str], dict[str, Table]] = {}
    for table in tables:
        if table.cell is not None:
            shared = (table.cell.track, titles[table.heading], table.view, table.is_open, table.primary)
            chosen.setdefault(shared, {}).setdefault(table.cell.cell, table)  # larger subsets come first
    return [
        Column(track=track, title=title, cells=tuple(cells), tables=tuple(cells.values()))
        for (track, title, *_), cells in chosen.items()
    ]


def _unscored(tables: Mapping[Table, Sequence[Standing]]) -> list[Column]:
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
    return [Column(track=track, title=track, cells=tuple(cells), tables=()) for track, cells in tracks.items()]


def _place(column: Column, scores: Mapping[Table, Standing], result: Result, evaluated: Collection[str]) -> Place:
    """Return the place of a result with scores by table, that has the cells ``evaluated`` in some table."""
    scored = {table.cell.cell: scores[table] for table in column.tables if table.cell and table in scores}
    reason = ""
    if missing := [cell for cell in column.cells if cell not in scored]:
        label = f"{column.track}/{missing[0]}"
        # Of the same cell there are tables of other images, and of entries that know its kernels.
        other = "was evaluated, in another table" if label in evaluated else "was not evaluated"
        reason = result.not_applicable.get(label, f"{label} {other}")
    return Place(
        score=None if missing else math.fsum(each.primary.value for each in scored.values()) / len(scored),
        cells=len(scored),
        marks=tuple(dict.fromkeys(mark for each in scored.values() for mark in each.marks if mark != "unfinished")),
        reason=reason,
    )


def _order(row: Row, columns: Sequence[Column]) -> tuple[int, float, str]:
    known = all_metrics()
    scores = [
        -place.score if known[column.primary].better == "higher" else place.score
        for column, place in zip(columns, row.places, strict=True)
        if column.primary is not None and place.score is not None
    ]
    return -len(scores), math.fsum(scores) / max(1, len(scores)), row.title
