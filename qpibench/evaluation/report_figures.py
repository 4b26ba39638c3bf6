"""Figures of the report, as SVG text that inherits its colours from the page's style sheet, light or dark.

Raster panels are embedded pixel by pixel, never interpolated; text stays text. The same arrays give the same bytes,
whatever the user's settings of Matplotlib are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qpibench.pages.plotting import file_content, own_style

# isort: split
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from qpibench.evaluation.result import Interval
from qpibench.grid import Grid

Image = NDArray[np.floating]
Limits = tuple[float, float]

SEQUENTIAL = "inferno"
MARKS = "Greys"
DIVERGING = "RdBu_r"
SPECTRUM = "viridis"

FOLD_COLOURS = {0: "#0072b2", 2: "#d55e00", 3: "#009e73", 4: "#cc79a7", 6: "#e69f00", -1: "#8a8f98"}
"""Colours of the folds, distinct to colour-blind eyes, on light and on dark pages."""


def fold_colour(stratum: int) -> str:
    """Colour of a stratum; those of other families take the colours of the folds in turn."""
    known = list(FOLD_COLOURS.values())[:-1]
    return FOLD_COLOURS.get(stratum) or known[stratum % len(known)]


# Without the ends, which one of both pages would swallow.
WAVELENGTHS = ListedColormap(mpl.colormaps["plasma"](np.linspace(0.2, 0.9, 256)))

SPECTRUM_DECADES = 4
"""Dynamic range of the log |FFT| panels."""

# Colours that no data has. In the SVG text they are replaced by variables of the page's style sheet.
_INK, _FAINT = "#010203", "#040506"
_SERIES = ("#070809", "#0a0b0c")
_PAGE_COLOURS = {
    _INK: "var(--ink)",
    _FAINT: "var(--rule)",
    _SERIES[0]: "var(--series-1)",
    _SERIES[1]: "var(--series-2)",
}
_STYLE: dict[Any, Any] = {
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
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Panel:
    """One image and its Fourier transform, to be drawn one above the other.

    Attributes
    ----------
    title
        Heading, such as ``"True kernel"``.
    image
        (y, x) array on the release's grid.
    colours
        Name of a matplotlib colour map for the image.
    limits
        Values at the ends of the colour map.
    unit
        Label of the image's colour bar.
    spectrum_limits
        Values of log10 |FFT| at the ends of the colour map.
    ring_q
        Wavevector to be marked by a dotted circle, rad/nm; None for no mark.
    """

    title: str
    image: Image
    colours: str
    limits: Limits
    unit: str
    spectrum_limits: Limits
    ring_q: float | None = None


def spectrum(image: Image, grid: Grid) -> NDArray[np.float64]:
    """log10 of the modulus of the Fourier integral of an image, zero wavevector in the middle; no window.

    The sum over pixels is multiplied by the area of a pixel, so that it does not depend on how finely the image is
    sampled. Exact zeros come out as the logarithm of the smallest normal number.

    Parameters
    ----------
    image
        (y, x) array on ``grid``, native units.

    Returns
    -------
    ndarray
        (y, x) float64: log10 of native units times nm^2.
    """
    modulus = np.abs(np.fft.fftshift(np.fft.fft2(np.asarray(image, dtype=np.float64))))
    return np.log10(np.maximum(modulus * grid.pitch_x_nm * grid.pitch_y_nm, np.finfo(np.float64).tiny))


def wavevectors(n: int, pitch_nm: float) -> NDArray[np.float64]:
    """Wavevectors of a discrete Fourier transform in rad/nm, 2 pi included, ascending; shape (n,)."""
    return 2 * np.pi * np.fft.fftshift(np.fft.fftfreq(n, pitch_nm))


def edges(centres: NDArray[np.float64]) -> Limits:
    """Outer edges of equally spaced pixels, given their centres: half a pixel outside the first and the last."""
    half = (centres[1] - centres[0]) / 2
    return float(centres[0] - half), float(centres[-1] + half)


def spectrum_limits(reference: Image, grid: Grid) -> Limits:
    """Limits of log10 |FFT| for a panel and those to be compared with it: whole decades, the largest value inside."""
    top = float(np.ceil(spectrum(reference, grid).max()))
    return top - SPECTRUM_DECADES, top


def value_limits(reference: Image) -> Limits:
    """Smallest and largest value of an image; a constant image gets a range of its own."""
    low, high = float(np.min(reference)), float(np.max(reference))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def symmetric_limits(difference: Image) -> Limits:
    """Limits of equal size below and above zero that hold every value."""
    largest = float(np.abs(difference).max()) or 1.0
    return -largest, largest


def draw_panel(panel: Panel, grid: Grid) -> str:
    """Draw an image under its scale bar, above the logarithm of its Fourier transform with wavevector axes, as SVG."""
    aspect = grid.size_y_nm / grid.size_x_nm
    width, left, side = 2.42, 0.56, 1.76
    height_of_panel = side * aspect
    height = 2 * height_of_panel + 1.78
    with own_style(_STYLE):
        figure = Figure(figsize=(width, height))

        def axes(bottom: float, tall: float) -> Axes:
            return figure.add_axes((left / width, bottom / height, side / width, tall / height))

        top = height - 0.2 - height_of_panel
        _draw_image(axes(top, height_of_panel), panel, grid)
        _draw_colour_bar(axes(top - 0.15, 0.08), panel.image, panel.colours, panel.limits, panel.unit)
        lower = top - 0.62 - height_of_panel
        transform = spectrum(panel.image, grid)
        _draw_spectrum(axes(lower, height_of_panel), transform, panel, grid)
        _draw_colour_bar(axes(lower - 0.52, 0.08), transform, SPECTRUM, panel.spectrum_limits, "log₁₀ (|FFT| / nm²)")
        return _svg(figure, f"{panel.title}: image and log FFT")


def draw_distributions(values: Mapping[str, NDArray[np.float64]], *, label: str) -> str:
    """Draw the cumulative distribution of a value of every image, one curve a task, as SVG; ``label`` names it."""
    with own_style(_STYLE):
        figure, axes = _plot_axes()
        for (task, of_images), colour in zip(sorted(values.items()), _SERIES, strict=False):
            ordered = np.sort(of_images)
            share = np.arange(1, len(ordered) + 1) / len(ordered)
            axes.step(ordered, share, where="post", color=colour, linewidth=1.4, label=task)
        axes.set(xlabel=f"{label} of an image", ylabel="share of images up to it", ylim=(0, 1.02))
        together = np.concatenate(list(values.values()))
        if _spans_decades(together):
            _set_log(axes, "x")
        elif not (together < 0).any():
            axes.set_xlim(left=0)
        return _svg(figure, f"Cumulative distribution of the {label}")


def draw_breakdown(
    scores: Mapping[str, Mapping[str, Interval]], *, groups: Sequence[str], label: str, score: str, at_0: bool
) -> str:
    """Draw the ranking score of groups of images with its intervals, as SVG.

    Parameters
    ----------
    scores
        By task, then by group.
    groups
        All groups in the order in which they shall stand.
    label
        What distinguishes the groups.
    score
        Name of the score.
    at_0
        Whether a linear axis begins at 0.
    """
    with own_style(_STYLE):
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
                color=_SERIES[place % 2],
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
            axes.set_ylim(bottom=0)
        return _svg(figure, f"Error by {label}")


def draw_latents(
    places: NDArray[np.float64],
    is_kernel: NDArray[np.bool_],
    *,
    label: str,
    axis_labels: tuple[str, str],
    folds: NDArray[np.integer] | None = None,
    wavelengths_nm: NDArray[np.float64] | None = None,
) -> str:
    """Draw points of a plane, images as dots and kernels as diamonds, as SVG.

    Parameters
    ----------
    places
        (n, 2) coordinates.
    is_kernel
        (n,) bool.
    label
        What the figure shows.
    axis_labels
        Names of both axes; those without a name have no ticks.
    folds, wavelengths_nm
        (n,) what colours the points: one of the two.
    """
    width, plot_height, below = 3.7, 2.75, 0.46 if wavelengths_nm is None else 0.98
    height = plot_height + below
    with own_style(_STYLE):
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0.62 / width, below / height, 2.98 / width, (plot_height - 0.09) / height))
        axes.spines[["top", "right"]].set_visible(False)
        if wavelengths_nm is not None:
            limits = value_limits(wavelengths_nm)
            colours = WAVELENGTHS((wavelengths_nm - limits[0]) / (limits[1] - limits[0]))
            bar = figure.add_axes((0.62 / width, 0.38 / height, 2.98 / width, 0.08 / height))
            _draw_colour_bar(bar, wavelengths_nm, WAVELENGTHS, limits, "wavelength π/B (nm)")
        else:
            assert folds is not None
            colours = to_rgba_array([fold_colour(int(fold)) for fold in folds])
        (x, y), images = places.T, ~is_kernel
        axes.scatter(x[images], y[images], s=7, c=colours[images], alpha=0.8, linewidths=0)
        axes.scatter(
            x[is_kernel], y[is_kernel], s=16, c=colours[is_kernel], marker="D", edgecolors=_INK, linewidths=0.5
        )
        axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
        if any(axis_labels):
            axes.locator_params(nbins=5)
        else:
            axes.set(xticks=[], yticks=[])
        return _svg(figure, label)


def _draw_image(axes: Axes, panel: Panel, grid: Grid) -> None:
    x, y = edges(grid.x_nm), edges(grid.y_nm)
    axes.imshow(
        panel.image,
        origin="lower",
        extent=(*x, *y),
        cmap=panel.colours,
        vmin=panel.limits[0],
        vmax=panel.limits[1],
        interpolation="none",
        aspect="auto",
    )
    axes.set(xticks=[], yticks=[])
    _draw_scale_bar(axes, grid)


def _draw_scale_bar(axes: Axes, grid: Grid) -> None:
    length = _round_length(grid.size_x_nm / 3)
    left, right = edges(grid.x_nm)
    share = length / (right - left)
    # Above the image, where it can hide none of it.
    height = 1.05
    axes.plot([0, share], [height, height], transform=axes.transAxes, color=_INK, linewidth=1.8, clip_on=False)
    axes.lines[-1].set_solid_capstyle("butt")
    axes.text(share + 0.04, height, f"{length:g} nm", transform=axes.transAxes, ha="left", va="center")


def _draw_spectrum(axes: Axes, transform: Image, panel: Panel, grid: Grid) -> None:
    x = edges(wavevectors(grid.nx, grid.pitch_x_nm))
    y = edges(wavevectors(grid.ny, grid.pitch_y_nm))
    low, high = panel.spectrum_limits
    axes.imshow(
        transform,
        origin="lower",
        extent=(*x, *y),
        cmap=SPECTRUM,
        vmin=low,
        vmax=high,
        interpolation="none",
        aspect="auto",
    )
    if panel.ring_q is not None:
        angle = np.linspace(0, 2 * np.pi, 181)
        axes.plot(panel.ring_q * np.cos(angle), panel.ring_q * np.sin(angle), ":", color="white", linewidth=0.9)
    axes.set(xlim=x, ylim=y, xlabel=r"$q_x$ = 2π/λ$_x$ (rad/nm)", ylabel=r"$q_y$ = 2π/λ$_y$ (rad/nm)")
    axes.xaxis.labelpad = 1
    axes.yaxis.labelpad = 1
    axes.locator_params(nbins=5)


def _draw_colour_bar(axes: Axes, shown: Image, colours: str | Colormap, limits: Limits, label: str) -> None:
    low, high = limits
    axes.imshow(
        np.linspace(0, 1, 256)[np.newaxis], extent=(low, high, 0, 1), cmap=colours, aspect="auto", interpolation="none"
    )
    middle = (low + high) / 2
    texts = [_short(value, high - low) for value in (low, middle, high)]
    # Values beyond the ends of a shared scale take the end's colour: the bar says so.
    slack = 1e-6 * (high - low)
    if np.min(shown) < low - slack:
        texts[0] = "≤ " + texts[0]
    if np.max(shown) > high + slack:
        texts[2] = "≥ " + texts[2]
    axes.set(yticks=[], xticks=[low, middle, high])
    # The outer labels stay within the bar, so that neighbouring panels cannot touch.
    first, *_, last = axes.set_xticklabels(texts)
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.tick_params(length=2, pad=1.5)
    axes.set_xlabel(label, labelpad=1)


def _plot_axes() -> tuple[Figure, Axes]:
    width, height = 3.7, 2.75
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.62 / width, 0.46 / height, 2.98 / width, 2.2 / height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    return figure, axes


def _spans_decades(values: NDArray[np.float64]) -> bool:
    """Whether a logarithmic axis serves the values better than one from zero."""
    return bool(values.size and values.min() > 0 and values.max() > 10 * values.min())


def _set_log(axes: Axes, direction: Literal["x", "y"]) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5, or at decades alone where there are many."""
    (axes.set_xscale if direction == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if direction == "x" else axes.get_ylim()
    axis = axes.xaxis if direction == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}")))
    axis.set_minor_formatter(NullFormatter())


def _round_length(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above a length."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))


def _short(value: float, span: float) -> str:
    """Two digits of a value, none below a thousandth of the range that it stands in."""
    text = f"{value:.2g}" if abs(value) >= 1e-3 * span else "0"
    mantissa, exponent, power = text.partition("e")
    text = f"{mantissa}e{int(power)}" if exponent else text
    return text.replace("-", "\N{MINUS SIGN}")


def _svg(figure: Figure, label: str) -> str:
    text = file_content(figure, "svg", transparent=True).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # The page has one style for all figures, and an id may occur only once in it.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<(g|image) ([^>]*?)\s*id="[^"]*"', r"<\1 \2", text)
    text = re.sub(
        r"^<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf'<svg \1 class="plot" role="img" aria-label="{label}">', text
    )
    for marker, colour in _PAGE_COLOURS.items():
        text = text.replace(marker, colour)
    return text.strip()
