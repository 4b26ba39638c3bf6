"""Figures of the cells of tracks, on the board and in reports: scores against the noise, and the ID-OOD gap."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.result import Interval
from qpibench.pages.notation import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ENTRIES = 12
"""Largest number of entries in a figure: the best ones, by their mean score."""

_DECIBEL = re.compile(r"(-?\d+(?:\.\d+)?)dB")
_SETTINGS = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
_WIDTH, _HEIGHT = 7.2, 3.6  # inches
_COLOURS, _MARKERS = 10, "os^Dv*P"  # numbers without a common divisor

Kind = Literal["png", "svg"]


@dataclass(frozen=True, kw_only=True)
class CellScores:
    """A cell: the metric that ranks, and the score of each entry by its name."""

    primary: str
    scores: Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True)
class TrackFigure:
    """A figure: its name, which can be that of a file, a caption, and the content as PNG or SVG."""

    name: str
    caption: str
    content: bytes


_Lines = dict[str, dict[float, Interval]]
"""Scores by entry and place on the horizontal axis."""


def draw_track_figures(
    tracks: Mapping[str, Mapping[str, CellScores]], *, kind: Kind = "png"
) -> tuple[TrackFigure, ...]:
    """Draw the figures for which there are scores: of each track a severity curve, and a gap for each view.

    The cells of a severity curve are named after a signal-to-noise ratio, such as ``10dB``; those of a gap ``id`` and
    ``ood``, or ``id-positions`` and ``ood-positions``. Cells of one figure are ranked by the same metric.

    Parameters
    ----------
    tracks
        Cells by the name of their track and their own.
    kind
        ``png``, a file on a white ground, or ``svg``, text that inherits the colours of a page.
    """
    drawn = []
    for track, cells in tracks.items():
        levels = {float(found[1]): cells[name] for name in cells if (found := _DECIBEL.fullmatch(name))}
        if len(levels) > 1 and len({cell.primary for cell in levels.values()}) == 1:
            drawn.append(_severity(track, dict(sorted(levels.items())), kind))
        for seen in (name for name in cells if re.fullmatch(r"id(-.*)?", name)):
            unseen = cells.get("ood" + seen[2:])
            if unseen is not None and unseen.primary == cells[seen].primary:
                drawn.append(_gap(track, seen, {0.0: cells[seen], 1.0: unseen}, kind))
    return tuple(figure for figure in drawn if figure is not None)


def entry_style(row: int) -> tuple[str, str]:
    """Return colour and marker of an entry of a figure, by its place; no two of the first 70 entries are alike."""
    return f"C{row % _COLOURS}", _MARKERS[row % len(_MARKERS)]


def _lines(cells: Mapping[float, CellScores], primary: str) -> _Lines:
    """Return the scores of the entries that have one at every place, the best first."""
    lines: _Lines = {}
    for place, cell in cells.items():
        for entry, score in cell.scores.items():
            lines.setdefault(entry, {})[place] = score
    whole = {name: scores for name, scores in lines.items() if len(scores) == len(cells)}
    sign = -1 if all_metrics()[primary].better == "higher" else 1
    best = sorted(whole, key=lambda name: (sign * sum(score.value for score in whole[name].values()), name))
    return {name: whole[name] for name in best[:MOST_ENTRIES]}


def _set_scale(axes: Axes, direction: Literal["x", "y"], primary: str, lines: _Lines) -> None:
    """Set a logarithmic axis for errors that span more than a decade, and else one from 0; others may be negative."""
    values = [score.value for scores in lines.values() for score in scores.values()]
    if all_metrics()[primary].bounds[0] != 0:
        return
    if min(values) > 0 and max(values) > 10 * min(values):
        (axes.set_xscale if direction == "x" else axes.set_yscale)("log")
        return
    most = 1.05 * max(score.high for scores in lines.values() for score in scores.values())
    (axes.set_xlim if direction == "x" else axes.set_ylim)(0, most or 1.0)


def _severity(track: str, cells: Mapping[float, CellScores], kind: Kind) -> TrackFigure | None:
    levels = list(cells)
    primary = cells[levels[0]].primary
    lines = _lines(cells, primary)
    if not lines:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, (name, scores) in enumerate(lines.items()):
            values = [scores[level] for level in levels]
            colour, marker = entry_style(row)
            axes.errorbar(
                levels,
                [score.value for score in values],
                yerr=[
                    [score.value - score.low for score in values],
                    [score.high - score.value for score in values],
                ],
                color=colour,
                marker=marker,
                capsize=2,
                label=plain(name),
            )
        axes.invert_xaxis()
        _set_scale(axes, "y", primary, lines)
        axes.set_xticks(levels)
        axes.set_xlabel("signal-to-noise ratio (dB)")
        axes.set_ylabel(all_metrics()[primary].head)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)

    caption = f"{track}: scores against the signal-to-noise ratio, with 95 % intervals."
    return TrackFigure(name=f"severity-{track}", caption=caption, content=_content(draw, _HEIGHT, kind, caption))


def _gap(track: str, seen: str, cells: Mapping[float, CellScores], kind: Kind) -> TrackFigure | None:
    primary = cells[0.0].primary
    lines = _lines(cells, primary)
    if not lines:
        return None
    unseen = "ood" + seen[2:]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, scores in enumerate(lines.values()):
            axes.plot([scores[0.0].value, scores[1.0].value], [row, row], color="0.7", zorder=1)
        for place, name, marker in ((0.0, f"{seen}: kernels seen", "o"), (1.0, f"{unseen}: kernels unseen", "s")):
            values = [scores[place].value for scores in lines.values()]
            axes.scatter(values, range(len(lines)), marker=marker, label=name, zorder=2)
        axes.set_yticks(range(len(lines)), [plain(name) for name in lines])
        axes.invert_yaxis()
        _set_scale(axes, "x", primary, lines)
        axes.set_xlabel(all_metrics()[primary].head)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, ncols=2)

    caption = f"{track}: the gap between the cells {seen} and {unseen}, kernels seen and unseen in training."
    height = 1.0 + 0.28 * len(lines)
    return TrackFigure(name=f"gap-{track}-{seen}", caption=caption, content=_content(draw, height, kind, caption))


def _content(draw: Callable[[Figure], None], height: float, kind: Kind, label: str) -> bytes:
    """Return a figure of a height in inches as a file; ``label`` names it for screen readers."""
    from qpibench.pages.plotting import file_content, own_style

    # isort: split
    from matplotlib.figure import Figure

    from qpibench.pages.svg import STYLE, svg_text

    with own_style(_SETTINGS if kind == "png" else STYLE | _SETTINGS):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        if kind == "png":
            return file_content(figure, "png", dpi=160)
        return svg_text(figure, html.escape(label)).encode()
