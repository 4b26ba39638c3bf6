"""Figures of the board, from its tables: scores against the noise, and the gap between seen and unseen kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qpibench.evaluation.track_figures import CellScores, TrackFigure, draw_track_figures
from qpibench.leaderboard.standings import Standing, Table, entry_titles, track_titles


def board_figures(tables: Mapping[Table, Sequence[Standing]]) -> tuple[TrackFigure, ...]:
    """Draw the figures for which there are scores; see :func:`qpibench.evaluation.track_figures.draw_track_figures`.

    Only whole cells are drawn, and no oracles, failed or open entries.
    """
    titles, entries = track_titles(tables), entry_titles(tables)
    tracks: dict[str, dict[str, CellScores]] = {}
    for table, members in tables.items():
        if table.cell is not None and not table.subset and not table.is_open:
            scores = {
                entries[standing.file]: standing.primary
                for standing in members
                if not {"oracle", "failed"} & set(standing.marks)
            }
            cells = tracks.setdefault(titles[table.heading], {})
            cells[table.cell.cell] = CellScores(primary=table.primary, scores=scores)
    return draw_track_figures(tracks)
