"""Plots of the report as SVG text: distributions of scores, groups of images, latent spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from qpibench.pages.plotting import own_style

# isort: split
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from qpibench.evaluation.result import Interval
from qpibench.pages.colour_bar import draw_colour_bar
from qpibench.pages.scales import value_limits
from qpibench.pages.svg import SERIES, STYLE, TEXT, svg_text

FOLD_COLOURS = {0: "#0072b2", 2: "#d55e00", 3: "#009e73", 4: "#cc79a7", 6: "#e69f00", -1: "#8a8f98"}
"""Colours of the folds, distinguishable with colour blindness and on light and dark pages."""


def fold_colour(stratum: int) -> str:
    """Return the colour of a stratum; strata of other families use the colours of the folds in turn."""
    known = list(FOLD_COLOURS.values())[:-1]
    return FOLD_COLOURS.get(stratum) or known[stratum % len(known)]


# Without the lightest and the darkest colours, which are invisible on a light or a dark page.
WAVELENGTHS = ListedColormap(mpl.colormaps["plasma"](np.linspace(0.2, 0.9, 256)))


def draw_distributions(values: Mapping[str, NDArray[np.float64]], *, label: str) -> str:
    """Draw the cumulative distribution of a per-image value, one curve per task, as SVG; ``label`` names the value."""
    with own_style(STYLE):
        figure, axes = _plot_axes()
        for (task, of_images), colour in zip(sorted(values.items()), SERIES, strict=False):
            ordered = np.sort(of_images)
            share = np.arange(1, len(ordered) + 1) / len(ordered)
            axes.step(ordered, share, where="post", color=colour, linewidth=1.4, label=task)
        axes.set(xlabel=f"{label} of an image", ylabel="share of images up to it", ylim=(0, 1.02))
        together = np.concatenate(list(values.values()))
        if _spans_decades(together):
            _set_log(axes, "x")
        elif not (together < 0).any():
            axes.set_xlim(0, _beyond(together))
        return svg_text(figure, f"Cumulative distribution of the {label}")


def draw_breakdown(
    scores: Mapping[str, Mapping[str, Interval]], *, groups: Sequence[str], label: str, score: str, at_0: bool
) -> str:
    """Draw the ranking score of groups of images with its intervals, as SVG.

    Parameters
    ----------
    scores
        By task, then by group.
    groups
        All groups in the order of the plot.
    label
        Name of the property that distinguishes the groups.
    score
        Name of the score.
    at_0
        Whether a linear axis begins at 0.
    """
    with own_style(STYLE):
        figure, axes = _plot_axes()
        for place, (task, by_group) in enumerate(sorted(scores.items())):
            shift = 0.14 * (2 * place - (len(scores) - 1))
            values = [score.value for score in by_group.values()]
            axes.errorbar(
                [groups.index(group) + shift for group in by_group],
                values,
                yerr=(
                    [score.value - score.low for score in by_group.values()],
                    [score.high - score.value for score in by_group.values()],
                ),
                fmt="os"[place % 2],
                color=SERIES[place % 2],
                markersize=4.2,
                elinewidth=1.2,
                label=task,
            )
        axes.set_xticks(range(len(groups)), groups)
        axes.set(xlabel=label, ylabel=score, xlim=(-0.6, len(groups) - 0.4))
        ends = [end for by_group in scores.values() for score in by_group.values() for end in (score.low, score.high)]
        if _spans_decades(np.array(ends)):
            _set_log(axes, "y")
        elif at_0:
            axes.set_ylim(0, _beyond(np.array(ends)))
        return svg_text(figure, f"Error by {label}")


def _beyond(values: NDArray[np.float64]) -> float | None:
    """End of an axis from 0 that shows the largest value whole, however near the values are to each other."""
    return 1.04 * float(values.max(initial=0)) or None


def draw_latents(
    places: NDArray[np.float64],
    is_kernel: NDArray[np.bool_],
    *,
    label: str,
    axis_labels: tuple[str, str],
    folds: NDArray[np.integer] | None = None,
    wavelengths_nm: NDArray[np.float64] | None = None,
) -> str:
    """Draw points in a plane as SVG, images as dots and kernels as diamonds.

    Parameters
    ----------
    places
        (n, 2) coordinates.
    is_kernel
        (n,) bool.
    label
        Description of the figure.
    axis_labels
        Names of both axes; an axis without a name has no ticks.
    folds, wavelengths_nm
        (n,) values that set the colours of the points; exactly one of the two is given.
    """
    width, plot_height, below = 3.7, 2.75, 0.46 if wavelengths_nm is None else 0.98
    height = plot_height + below
    with own_style(STYLE):
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0.62 / width, below / height, 2.98 / width, (plot_height - 0.09) / height))
        axes.spines[["top", "right"]].set_visible(False)
        if wavelengths_nm is not None:
            limits = value_limits(wavelengths_nm)
            colours = WAVELENGTHS((wavelengths_nm - limits[0]) / (limits[1] - limits[0]))
            bar = figure.add_axes((0.62 / width, 0.38 / height, 2.98 / width, 0.08 / height))
            draw_colour_bar(bar, wavelengths_nm, WAVELENGTHS, limits, "wavelength 2π/q (nm)")
        else:
            assert folds is not None
            colours = to_rgba_array([fold_colour(int(fold)) for fold in folds])
        (x, y), images = places.T, ~is_kernel
        axes.scatter(x[images], y[images], s=7, c=colours[images], alpha=0.8, linewidths=0)
        axes.scatter(
            x[is_kernel], y[is_kernel], s=16, c=colours[is_kernel], marker="D", edgecolors=TEXT, linewidths=0.5
        )
        axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
        if any(axis_labels):
            axes.locator_params(nbins=5)
        else:
            axes.set(xticks=[], yticks=[])
        return svg_text(figure, label)


def _plot_axes() -> tuple[Figure, Axes]:
    width, height = 3.7, 2.75
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.62 / width, 0.46 / height, 2.98 / width, 2.2 / height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    return figure, axes


def _spans_decades(values: NDArray[np.float64]) -> bool:
    """Return whether the values are better shown on a logarithmic axis than on one from zero."""
    return bool(values.size and values.min() > 0 and values.max() > 10 * values.min())


def _set_log(axes: Axes, direction: Literal["x", "y"]) -> None:
    """Set a logarithmic axis with plain numbers at 1, 2 and 5, or at decades alone if there are many."""
    (axes.set_xscale if direction == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if direction == "x" else axes.get_ylim()
    axis = axes.xaxis if direction == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}")))
    axis.set_minor_formatter(NullFormatter())
