"""Images of the report and their spectra, as SVG text that inherits its colours from the page's style sheet.

Raster panels are embedded pixel by pixel, never interpolated; text stays text. The same arrays give the same bytes,
whatever the user's settings of Matplotlib are.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpibench.pages.plotting import own_style

# isort: split
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from qpibench.grid import Grid
from qpibench.pages.colour_bar import draw_colour_bar
from qpibench.pages.fourier import spectrum, wavevectors
from qpibench.pages.scales import Limits, bar_length, edges
from qpibench.pages.svg import MARKS, SPECTRUM, STYLE, TEXT, svg_text

Image = NDArray[np.floating]

_FLAT = 1e-3  # decades: a spectrum that varies less has one colour, so its value is written instead

_MARKS_ACROSS = 64
"""Marks are drawn at least as wide as one pixel of an image with this many pixels per side."""


@dataclass(frozen=True)
class Panel:
    """One image, to be drawn above its Fourier transform or alone.

    Attributes
    ----------
    title
        Heading, such as ``"True kernel"``.
    image
        (y, x) array, native units.
    colours
        Name of a matplotlib colour map for the image.
    limits
        Values at the ends of the colour map.
    unit
        Label of the image's colour bar.
    spectrum_limits
        Values of log10 |FFT| at the ends of the colour map; None to draw the image alone.
    ring_q
        Wavevector of a dotted circle in the spectrum, rad/nm; None for no circle.
    """

    title: str
    image: Image
    colours: str
    limits: Limits
    unit: str
    spectrum_limits: Limits | None
    ring_q: float | None = None


def wide_marks(activation: Image) -> tuple[Image, int]:
    """Return an activation map with marks wide enough for a small panel, and their width in pixels.

    Each pixel becomes the largest value in a square of that width around it. Maps of up to 64 pixels do not change.
    """
    width = -(-max(activation.shape) // _MARKS_ACROSS)
    width += 1 - width % 2  # odd, so that a mark stays where it is
    return maximum_filter(activation, size=width, mode="constant"), width


def draw_panel(panel: Panel, grid: Grid) -> str:
    """Draw an image under its scale bar, above the logarithm of its Fourier transform with wavevector axes, as SVG.

    A panel without spectrum limits has the image only.
    """
    aspect = grid.size_y_nm / grid.size_x_nm
    width, left, side = 2.42, 0.56, 1.76
    height_of_panel = side * aspect
    limits = panel.spectrum_limits
    height = height_of_panel + 0.72 if limits is None else 2 * height_of_panel + 1.78
    with own_style(STYLE):
        figure = Figure(figsize=(width, height))

        def axes(bottom: float, tall: float) -> Axes:
            return figure.add_axes((left / width, bottom / height, side / width, tall / height))

        top = height - 0.2 - height_of_panel
        shown, unit = panel.image, panel.unit
        if panel.colours == MARKS:
            shown, marked = wide_marks(panel.image)
            unit += f", drawn {marked} pixels wide" if marked > 1 else ""
        _draw_image(axes(top, height_of_panel), shown, panel, grid)
        draw_colour_bar(axes(top - 0.15, 0.08), panel.image, panel.colours, panel.limits, unit)
        if limits is None:
            return svg_text(figure, panel.title)
        lower = top - 0.62 - height_of_panel
        transform = spectrum(panel.image, grid)
        spectrum_axes = axes(lower, height_of_panel)
        if np.ptp(transform) < _FLAT:
            _write_flat_spectrum(spectrum_axes, float(transform.max()))
            _set_wavevector_axes(spectrum_axes, grid)
        else:
            _draw_spectrum(spectrum_axes, transform, limits, panel.ring_q, grid)
            bar = axes(lower - 0.52, 0.08)
            draw_colour_bar(bar, transform, SPECTRUM, limits, "log₁₀ (|FFT| / nm²)")
        return svg_text(figure, f"{panel.title}: image and log FFT")


def _draw_image(axes: Axes, shown: Image, panel: Panel, grid: Grid) -> None:
    x, y = edges(grid.x_nm), edges(grid.y_nm)
    axes.imshow(
        shown,
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
    length = bar_length(grid.size_x_nm)
    left, right = edges(grid.x_nm)
    share = length / (right - left)
    # Above the image, so that it hides no part of it.
    height = 1.05
    axes.plot([0, share], [height, height], transform=axes.transAxes, color=TEXT, linewidth=1.8, clip_on=False)
    axes.lines[-1].set_solid_capstyle("butt")
    axes.text(share + 0.04, height, f"{length:g} nm", transform=axes.transAxes, ha="left", va="center")


def _draw_spectrum(axes: Axes, transform: Image, limits: Limits, ring_q: float | None, grid: Grid) -> None:
    x = edges(wavevectors(grid.nx, grid.pitch_x_nm))
    y = edges(wavevectors(grid.ny, grid.pitch_y_nm))
    axes.imshow(
        transform,
        origin="lower",
        extent=(*x, *y),
        cmap=SPECTRUM,
        vmin=limits[0],
        vmax=limits[1],
        interpolation="none",
        aspect="auto",
    )
    if ring_q is not None:
        angle = np.linspace(0, 2 * np.pi, 181)
        (ring,) = axes.plot(ring_q * np.cos(angle), ring_q * np.sin(angle), ":", color="white", linewidth=0.9)
        ring.set_path_effects([withStroke(linewidth=2.1, foreground="black")])  # visible on bright pixels too
    _set_wavevector_axes(axes, grid)


def _write_flat_spectrum(axes: Axes, value: float) -> None:
    """Write the value of a constant spectrum, such as that of a single mark or of zeros."""
    modulus = 10.0**value
    text = f"{modulus:.2g} nm²" if modulus > np.finfo(np.float64).tiny * 2 else "0"
    axes.text(0.5, 0.5, f"|FFT| = {text}\nat all wavevectors", transform=axes.transAxes, ha="center", va="center")


def _set_wavevector_axes(axes: Axes, grid: Grid) -> None:
    x = edges(wavevectors(grid.nx, grid.pitch_x_nm))
    y = edges(wavevectors(grid.ny, grid.pitch_y_nm))
    axes.set(xlim=x, ylim=y, xlabel=r"$q_x$ = 2π/λ$_x$ (rad/nm)", ylabel=r"$q_y$ = 2π/λ$_y$ (rad/nm)")
    axes.xaxis.labelpad = 1
    axes.yaxis.labelpad = 1
    axes.locator_params(nbins=5)
