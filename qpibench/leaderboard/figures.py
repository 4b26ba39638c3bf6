"""Figures of the board: scores against the noise, and the gap between seen and unseen kernels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.result import Interval
from qpibench.leaderboard.standings import Standing, Table, track_titles

MOST_ENTRIES = 12
"""Largest number of entries in a figure: the best ones, by their mean score."""

_DECIBEL = re.compile(r"(-?\d+(?:\.\d+)?)dB")
_SETTINGS = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
_WIDTH, _HEIGHT = 7.2, 3.6  # inches


@dataclass(frozen=True, kw_only=True)
class BoardFigure:
    """A figure: the name of its file, a caption, and the content of the PNG file."""

    name: str
    caption: str
    content: bytes


_Lines = dict[str, dict[float, Interval]]
"""Scores by entry and place on the horizontal axis."""


def board_figures(tables: Mapping[Table, Sequence[Standing]]) -> tuple[BoardFigure, ...]:
    """Draw the figures for which there are scores: of each track a severity curve, and a gap for each view.

    The cells of a severity curve are named after a signal-to-noise ratio, such as ``10dB``; those of a gap ``id`` and
    ``ood``, or ``id-positions`` and ``ood-positions``. Only whole cells are drawn, and no oracles.
    """
    titles = track_titles(tables)
    of_tracks: dict[str, dict[str, tuple[Table, Sequence[Standing]]]] = {}
    for table, members in tables.items():
        if table.cell is not None and not table.subset and not table.is_open:
            of_tracks.setdefault(titles[table.heading], {})[table.cell.cell] = (table, members)
    drawn = []
    for track, cells in of_tracks.items():
        levels = {float(found[1]): name for name in cells if (found := _DECIBEL.fullmatch(name))}
        if len(levels) > 1:
            primary = cells[next(iter(levels.values()))][0].primary
            lines = _lines({level: cells[name][1] for level, name in sorted(levels.items())}, primary)
            drawn.append(_severity(track, primary, lines, sorted(levels)))
        for seen in (name for name in cells if re.fullmatch(r"id(-.*)?", name)):
            unseen = "ood" + seen[2:]
            if unseen in cells:
                primary = cells[seen][0].primary
                lines = _lines({0.0: cells[seen][1], 1.0: cells[unseen][1]}, primary)
                drawn.append(_gap(track, seen, unseen, primary, lines))
    return tuple(figure for figure in drawn if figure is not None)


def _lines(members: Mapping[float, Sequence[Standing]], primary: str) -> _Lines:
    """Return the scores of the entries that have one at every place, the best first."""
    lines: _Lines = {}
    for place, standings in members.items():
        for standing in standings:
            if "oracle" not in standing.marks and "failed" not in standing.marks:
                lines.setdefault(standing.result.model.name, {}).setdefault(place, standing.primary)
    whole = {name: scores for name, scores in lines.items() if len(scores) == len(members)}
    sign = -1 if all_metrics()[primary].better == "higher" else 1
    best = sorted(whole, key=lambda name: (sign * sum(score.value for score in whole[name].values()), name))
    return {name: whole[name] for name in best[:MOST_ENTRIES]}


def _scale(primary: str) -> str:
    """Return the scale of an axis of scores: logarithmic for errors; other scores may be negative."""
    return "log" if all_metrics()[primary].bounds[0] == 0 else "linear"


def _severity(track: str, primary: str, lines: _Lines, levels: Sequence[float]) -> BoardFigure | None:
    if not lines:
        return None
    from qpibench.pages.plotting import file_content, own_style

    # isort: split
    from matplotlib.figure import Figure

    with own_style(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        for name, scores in lines.items():
            values = [scores[level] for level in levels]
            below = [score.value - score.low for score in values]
            above = [score.high - score.value for score in values]
            axes.errorbar(levels, [s.value for s in values], yerr=[below, above], marker="o", capsize=2, label=name)
        axes.invert_xaxis()
        axes.set_yscale(_scale(primary))
        axes.set_xticks(list(levels))
        axes.set_xlabel("signal-to-noise ratio (dB)")
        axes.set_ylabel(all_metrics()[primary].head)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        content = file_content(figure, "png", dpi=160)
    caption = f"Track {track}: scores against the signal-to-noise ratio, with 95 % intervals."
    return BoardFigure(name=f"severity-{track}.png", caption=caption, content=content)


def _gap(track: str, seen: str, unseen: str, primary: str, lines: _Lines) -> BoardFigure | None:
    if not lines:
        return None
    from qpibench.pages.plotting import file_content, own_style

    # isort: split
    from matplotlib.figure import Figure

    with own_style(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, 1.0 + 0.28 * len(lines)), layout="constrained")
        axes = figure.add_subplot()
        for row, scores in enumerate(lines.values()):
            axes.plot([scores[0.0].value, scores[1.0].value], [row, row], color="0.7", zorder=1)
        for place, name, marker in ((0.0, f"{seen}: kernels seen", "o"), (1.0, f"{unseen}: kernels unseen", "s")):
            values = [scores[place].value for scores in lines.values()]
            axes.scatter(values, range(len(lines)), marker=marker, label=name, zorder=2)
        axes.set_yticks(range(len(lines)), list(lines))
        axes.invert_yaxis()
        axes.set_xscale(_scale(primary))
        axes.set_xlabel(all_metrics()[primary].head)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, ncols=2)
        content = file_content(figure, "png", dpi=160)
    caption = f"Track {track}: the gap between the cells {seen} and {unseen}, kernels seen and unseen in training."
    return BoardFigure(name=f"gap-{track}-{seen}.png", caption=caption, content=content)
