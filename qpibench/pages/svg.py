"""Figures of pages as SVG text that inherits its colours from the page's style sheet: their style and colour maps."""

from __future__ import annotations

import re
from typing import Any

from qpibench.pages.plotting import file_content

# isort: split
from matplotlib.figure import Figure

SEQUENTIAL = "inferno"
MARKS = "Greys"
SPREAD = "cividis"
DIVERGING = "RdBu_r"
SPECTRUM = "viridis"

# Colours that no data has. In the SVG text they are replaced by variables of the page's style sheet.
TEXT, FAINT = "#010203", "#040506"
SERIES = ("#070809", "#0a0b0c")
_PAGE_COLOURS = {
    TEXT: "var(--text)",
    FAINT: "var(--rule)",
    SERIES[0]: "var(--series-1)",
    SERIES[1]: "var(--series-2)",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "qpibench",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": TEXT,
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.unicode_minus": True,
}


def svg_text(figure: Figure, label: str) -> str:
    """Return a figure as SVG text for a page; ``label`` names it for screen readers."""
    text = file_content(figure, "svg", transparent=True).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # The page has one style sheet for all figures, and an id must be unique within a page.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<(g|image) ([^>]*?)\s*id="[^"]*"', r"<\1 \2", text)
    text = re.sub(
        r"^<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf'<svg \1 class="plot" role="img" aria-label="{label}">', text
    )
    for marker, colour in _PAGE_COLOURS.items():
        text = text.replace(marker, colour)
    return text.strip()
