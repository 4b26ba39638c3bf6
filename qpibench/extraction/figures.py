"""Figures of a report of kernels: maps, kernels, transforms, profiles and the band."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from qpibench.pages.notation import plain
from qpibench.pages.plotting import file_content, own_style

# isort: split
import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from qpibench.gallery.panels import draw_scale_bar
from qpibench.grid import Grid
from qpibench.pages.colour_bar import draw_colour_bar
from qpibench.pages.fourier import wavevectors
from qpibench.pages.scales import Limits, edges
from qpibench.pages.svg import DIVERGING, FAINT, SERIES, SPECTRUM, STYLE, TEXT, svg_text

Values = NDArray[np.float64]

_SHARP = 400  # pixels along a side up to which images are embedded pixel by pixel
_DPI = 200
_TALLEST = 2.5  # height of a panel over its width
_NOT_MEASURED = "0.6"


@dataclass(frozen=True, kw_only=True)
class Colours:
    """Colours of text, faint lines and the two series of plots."""

    text: str
    faint: str
    series: tuple[str, str]


ON_PAGE = Colours(text=TEXT, faint=FAINT, series=SERIES)
"""Marks, which the page's style sheet turns into colours for a light and a dark page."""

IN_FILE = Colours(text="#1b1f24", faint="#d9dde3", series=("#0072b2", "#c14d00"))


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure for the page and for files of its own.

    Attributes
    ----------
    name
        Name of its files, without suffix.
    title
        What it shows, in a few words.
    make
        Makes the figure with colours, within the style.
    """

    name: str
    title: str
    make: Callable[[Colours], Figure]

    def on_page(self) -> Markup:
        """The figure as SVG text of a page."""
        with _style(ON_PAGE):
            return Markup(svg_text(self.make(ON_PAGE), str(Markup.escape(self.title))))

    def in_file(self, kind: Literal["svg", "png"]) -> bytes:
        """The figure as the content of a file."""
        with _style(IN_FILE):
            return file_content(self.make(IN_FILE), kind, dpi=_DPI, facecolor="white")


@contextmanager
def _style(colours: Colours) -> Iterator[None]:
    replaced = {TEXT: colours.text, FAINT: colours.faint}
    settings: dict[Any, Any] = {
        name: replaced.get(value, value) if isinstance(value, str) else value for name, value in STYLE.items()
    }
    with own_style(settings):
        yield


def image_panel(
    image: Values,
    grid: Grid,
    *,
    colours: str,
    limits: Limits,
    unit: str,
    position_nm: Values | None = None,
) -> Callable[[Colours], Figure]:
    """Make an image (y, x) with its scale bar, colour bar and marked scatterers; NaN is grey."""

    def make(page: Colours) -> Figure:
        figure, axes, bar = _panel_axes((grid.ny * grid.pitch_y_nm) / (grid.nx * grid.pitch_x_nm), left=0.08)
        x, y = edges(grid.x_nm), edges(grid.y_nm)
        _show(axes, image, (*x, *y), colours, limits)
        if position_nm is not None:
            size = 4.0 if len(position_nm) <= 60 else 2.6
            for width, colour in ((1.6, "white"), (0.7, "black")):
                axes.plot(*position_nm.T, "o", mfc="none", mec=colour, mew=width, ms=size, linestyle="none")
        axes.set(xlim=x, ylim=y, xticks=[], yticks=[])
        draw_scale_bar(axes, colour=page.text)
        draw_colour_bar(bar, image[np.isfinite(image)], colours, limits, unit)
        return figure

    return make


def transform_panel(
    values: Values,
    grid: Grid,
    *,
    most_q: float,
    limits: Limits,
    unit: str,
    is_signed: bool,
    ring_q: float | None,
) -> Callable[[Colours], Figure]:
    """Make values at the wavevectors of a grid (y, x), up to ``most_q`` along both axes, with a dotted ring."""
    q_x, q_y = wavevectors(grid.nx, grid.pitch_x_nm), wavevectors(grid.ny, grid.pitch_y_nm)
    colours = DIVERGING if is_signed else SPECTRUM

    def make(page: Colours) -> Figure:
        figure, axes, bar = _panel_axes(1.0, left=0.46)
        rows, columns = (np.abs(q) <= most_q + (q[1] - q[0]) for q in (q_y, q_x))
        shown = values[np.ix_(rows, columns)]
        _show(axes, shown, (*edges(q_x[columns]), *edges(q_y[rows])), colours, limits)
        if ring_q is not None:
            angle = np.linspace(0, np.pi, 91)
            (ring,) = axes.plot(ring_q * np.cos(angle), ring_q * np.sin(angle), ":", color="white", linewidth=1.0)
            ring.set_path_effects([withStroke(linewidth=2.2, foreground="black")])
        axes.set(xlim=(-most_q, most_q), ylim=(-most_q, most_q))
        axes.set_xlabel(r"$q_x$ (rad/nm)", labelpad=1)
        axes.set_ylabel(r"$q_y$ (rad/nm)", labelpad=0)
        axes.locator_params(nbins=5)
        draw_colour_bar(bar, shown, colours, limits, unit)
        return figure

    return make


def profile_plot(
    x: Values,
    y: Values,
    std: Values,
    *,
    x_label: str,
    y_label: str,
    fit: tuple[Values, Values] | None = None,
    y_limits: Limits | None = None,
    x_ticks: list[int] | None = None,
) -> Callable[[Colours], Figure]:
    """Make a curve with the band of its standard deviation, and fitted values (x, y) as a dashed line on dots."""

    def make(page: Colours) -> Figure:
        figure, axes = _plot_axes()
        axes.axhline(0, color=page.faint, linewidth=0.8)
        if np.isfinite(std).all():
            axes.fill_between(x, y - std, y + std, color=to_rgba(page.series[0], 0.3), linewidth=0)
        has_dots = fit is not None
        (line,) = axes.plot(x, y, "o-" if has_dots else "-", color=page.series[0], markersize=2.4)
        line.set_linewidth(0.6 if has_dots else 1.4)
        if fit is not None:
            axes.plot(*fit, color=page.series[1], linewidth=1.4, linestyle=(0, (3, 2)))
        axes.set(xlabel=x_label, ylabel=plain(y_label), xlim=(float(x[0]), float(x[-1])), ylim=y_limits)
        if x_ticks is not None:
            axes.set_xticks(x_ticks)
        return figure

    return make


def band_plot(
    energy: Values,
    q: Values,
    q_std: Values,
    used: NDArray[np.bool_],
    *,
    curve: tuple[Values, Values, Values, Values] | None,
) -> Callable[[Colours], Figure]:
    """Make q against energy with 95 % bars, and a curve: energies, q, and the ends of its interval."""

    def make(page: Colours) -> Figure:
        figure, axes = _plot_axes(wide=True)
        axes.grid(True)
        axes.set_axisbelow(True)
        if curve is not None:
            at, middle, low, high = curve
            axes.fill_between(at, low, high, color=to_rgba(page.series[1], 0.3), linewidth=0)
            axes.plot(at, middle, color=page.series[1], linewidth=1.3)
        has_q = np.isfinite(q)
        for shown, marker, fill in ((used & has_q, "o", page.series[0]), (~used & has_q, "s", "none")):
            axes.errorbar(
                energy[shown],
                q[shown],
                yerr=1.96 * q_std[shown],
                fmt=marker,
                color=page.series[0],
                markerfacecolor=fill,
                markersize=4,
                elinewidth=1.1,
                capsize=2,
            )
        ends = np.concatenate([q[has_q], *(() if curve is None else curve[1:2])])
        top = 1.15 * float(np.nanmax(ends, initial=0.0)) or 1.0
        axes.set(xlabel="energy relative to the Fermi level (meV)", ylabel="q (rad/nm)", ylim=(0, top))
        return figure

    return make


def _show(axes: Axes, image: Values, extent: tuple[float, ...], colours: str, limits: Limits) -> None:
    axes.imshow(
        image,
        origin="lower",
        extent=extent,  # type: ignore[arg-type]
        cmap=colormaps[colours].with_extremes(bad=_NOT_MEASURED),
        vmin=limits[0],
        vmax=limits[1],
        interpolation="none" if max(image.shape) <= _SHARP else "antialiased",
        aspect="auto",
    )


def _panel_axes(ratio: float, *, left: float) -> tuple[Figure, Axes, Axes]:
    """Figure, axes of an image whose height over width is ``ratio``, and those of its colour bar."""
    side, right, above = 1.9, 0.08, 0.24 if left < 0.2 else 0.08
    tall = side * min(ratio, _TALLEST)
    below = 0.5 if left < 0.2 else 0.92
    width, height = left + side + right, above + tall + below
    figure = Figure(figsize=(width, height), dpi=_DPI)

    def axes(bottom: float, size: float) -> Axes:
        return figure.add_axes((left / width, bottom / height, side / width, size / height))

    return figure, axes(below, tall), axes(below - (0.15 if left < 0.2 else 0.57), 0.08)


def _plot_axes(*, wide: bool = False) -> tuple[Figure, Axes]:
    width, height = (5.2, 3.2) if wide else (3.7, 2.6)
    figure = Figure(figsize=(width, height), dpi=_DPI)
    axes = figure.add_axes((0.66 / width, 0.46 / height, (width - 0.8) / width, (height - 0.6) / height))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
