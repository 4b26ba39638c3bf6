"""The page of a gallery: rows of panels under each other, as a PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpibench.pages.notation import plain
from qpibench.pages.plotting import file_content, own_style

# isort: split
from matplotlib.figure import Figure

from qpibench.gallery.choice import PER_ROW
from qpibench.gallery.palette import in_palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
}

DPI = 100

SIDE = 1.72
"""Width of a panel in inches."""

_LEFT, _STEP = 0.5, 2.2
_WIDTH = _LEFT + PER_ROW * _STEP
_LINE = 0.125
_BAR, _VALUES, _WAVEVECTORS = 0.2, 0.34, 0.36  # above an image, below an image, below a spectrum

CHARACTERS = {"heading": 110, "page": 220, "panel": 38}
"""Characters in a heading, in a line of the page, and in a line above a panel."""

Draw = Callable[["Axes"], None]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A panel: a title and one drawing, or a title and two drawings above each other.

    Attributes
    ----------
    title
        Lines above the panel.
    draw
        Draws the panel.
    height
        Height of the panel over its width.
    draw_bar
        Draws the colour bar below the panel; None for a panel with axis labels.
    below
        The panel below it.
    """

    title: str
    draw: Draw
    height: float = 1.0
    draw_bar: Draw | None = None
    below: Panel | None = None

    def inches(self) -> float:
        """Height with everything above and below it."""
        under = _WAVEVECTORS if self.draw_bar is None else _VALUES
        return self.above() + SIDE * self.height + under + (self.below.inches() if self.below else 0.0)

    def above(self) -> float:
        """Height of the title and the scale bar."""
        lines = self.title.count("\n") + 1 if self.title else 0
        return lines * _LINE + (_BAR if self.draw_bar is not None else 0.06)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of panels under a heading and a text."""

    heading: str = ""
    text: str = ""
    panels: Sequence[Panel] = ()

    def inches(self) -> float:
        """Height of the row."""
        return self.above() + max((panel.inches() for panel in self.panels), default=0.0) + 0.08

    def above(self) -> float:
        """Height of the heading and the text."""
        lines = self.text.count("\n") + 1 if self.text else 0
        return (0.24 if self.heading else 0.0) + lines * (_LINE + 0.01) + 0.06


def draw_page(rows: Sequence[Row]) -> bytes:
    """A PNG of rows of panels, from the top of the page."""
    with own_style(STYLE):
        height = sum(row.inches() for row in rows) + 0.1
        figure = Figure(figsize=(_WIDTH, height), dpi=DPI)
        top = height - 0.05
        for row in rows:
            _draw_row(figure, row, top)
            top -= row.inches()
        return in_palette(file_content(figure, "png", dpi=DPI))


def _draw_row(figure: Figure, row: Row, top: float) -> None:
    height = float(figure.get_size_inches()[1])
    if row.heading:
        figure.text(0.12 / _WIDTH, (top - 0.14) / height, plain(row.heading), fontsize=9.5, weight="bold", va="center")
    under = top - (0.24 if row.heading else 0.0)
    figure.text(0.12 / _WIDTH, (under - 0.03) / height, plain(row.text), va="top", linespacing=1.25)
    lowest = max((panel.above() for panel in row.panels), default=0.0)
    for place, panel in enumerate(row.panels):
        # Panels of a row begin at the same height, whatever the length of their titles is.
        _draw_panel(figure, panel, _LEFT + place * _STEP, top - row.above() - lowest)


def _draw_panel(figure: Figure, panel: Panel, left: float, top: float) -> None:
    width, height = figure.get_size_inches()
    tall = SIDE * panel.height
    axes = figure.add_axes((left / width, (top - tall) / height, SIDE / width, tall / height))
    panel.draw(axes)
    space = _BAR if panel.draw_bar is not None else 0.06
    figure.text(left / width, (top + space) / height, plain(panel.title), va="bottom", linespacing=1.2)
    bottom = top - tall
    if panel.draw_bar is not None:
        panel.draw_bar(figure.add_axes((left / width, (bottom - 0.13) / height, SIDE / width, 0.07 / height)))
    if panel.below is not None:
        bottom -= _VALUES if panel.draw_bar is not None else _WAVEVECTORS
        _draw_panel(figure, panel.below, left, bottom - panel.below.above())
