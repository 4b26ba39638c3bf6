"""Colour bars of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qpibench.pages.notation import plain
from qpibench.pages.scales import Limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


def draw_colour_bar(axes: Axes, shown: NDArray[Any], colours: str | Colormap, limits: Limits, label: str) -> None:
    """Draw a colour bar; its end labels show whether values lie beyond the limits."""
    low, high = limits
    axes.imshow(
        np.linspace(0, 1, 256)[np.newaxis], extent=(low, high, 0, 1), cmap=colours, aspect="auto", interpolation="none"
    )
    middle = (low + high) / 2
    texts = [_short(value, high - low) for value in (low, middle, high)]
    # Values beyond the ends of a shared scale have the end's colour; the labels show that.
    slack = 1e-6 * (high - low)
    if np.min(shown) < low - slack:
        texts[0] = "≤ " + texts[0]
    if np.max(shown) > high + slack:
        texts[2] = "≥ " + texts[2]
    axes.set(yticks=[], xticks=[low, middle, high])
    # The outer labels stay within the bar, so that those of neighbouring panels do not touch.
    first, *_, last = axes.set_xticklabels(texts)
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.tick_params(length=2, pad=1.5)
    axes.set_xlabel(plain(label), labelpad=1)


def _short(value: float, span: float) -> str:
    """Format a value with two digits, none smaller than a thousandth of the axis's range."""
    text = f"{value:.2g}" if abs(value) >= 1e-3 * span else "0"
    mantissa, exponent, power = text.partition("e")
    text = f"{mantissa}e{int(power)}" if exponent else text
    return text.replace("-", "\N{MINUS SIGN}")
