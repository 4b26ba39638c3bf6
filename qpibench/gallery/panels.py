"""Panels of a gallery: an image with its scale bar and positions, a spectrum with wavevector axes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qpibench.gallery.palette import FADED, RING, SPECTRUM, TOLD, TRUE, few_levels
from qpibench.grid import Grid
from qpibench.pages.colour_bar import draw_colour_bar
from qpibench.pages.fourier import wavevectors
from qpibench.pages.scales import Limits, bar_length, edges

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR_HEIGHT = 1.055  # above the image, so that it hides no part of it

TRUE_MARKERS, TOLD_MARKERS = ("o", "^"), ("x", "+")
"""Markers of the scatterers and of the told positions of each species."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """Positions that are marked in an image.

    Attributes
    ----------
    position_nm
        (scatterer, xy) in nm, without padding.
    species
        (scatterer,): the species of each, 0 or 1; None if there is one species.
    """

    position_nm: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    species: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.position_nm)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Marks)
            and np.array_equal(self.position_nm, other.position_nm)
            and np.array_equal(self.of_species(), other.of_species())
        )

    __hash__ = None  # type: ignore[assignment]

    def of_species(self) -> NDArray[np.int32]:
        """The species of each, 0 if there is one species."""
        return np.zeros(len(self), np.int32) if self.species is None else self.species


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image with the colours of its values.

    Attributes
    ----------
    image
        (y, x) array on the grid.
    colours, limits
        Name of the colour map, and the values at its ends.
    label
        Label of the colour bar.
    true, told
        Positions that are marked: true ones by circles, told ones by crosses; those of species 1 by triangles and plus
        signs.
    is_faded
        Whether the colours are pale, so that the marks are easy to see.
    """

    image: NDArray[Any]
    colours: str
    limits: Limits
    label: str = ""
    true: Marks = field(default_factory=Marks)
    told: Marks = field(default_factory=Marks)
    is_faded: bool = False


def draw_image(
    axes: Axes,
    picture: Picture,
    grid: Grid,
    *,
    view_nm: tuple[Limits, Limits] | None = None,
    has_legend: bool = True,
) -> None:
    """Draw an image in nm with a scale bar, and a legend of two species of marks.

    ``view_nm`` has the ends of x and y if only a part is shown. Without ``has_legend`` there is no legend, for which
    small panels are too narrow.
    """
    field_nm = edges(grid.x_nm), edges(grid.y_nm)
    x_nm, y_nm = view_nm or field_nm
    axes.imshow(
        picture.image,
        origin="lower",
        extent=(*field_nm[0], *field_nm[1]),
        cmap=few_levels(picture.colours),
        vmin=picture.limits[0],
        vmax=picture.limits[1],
        interpolation="none",
        aspect="auto",
        alpha=FADED if picture.is_faded else None,
    )
    enlarged = 1.0 if view_nm is None else 1.6
    size = enlarged * (5.0 if len(picture.true) <= 40 else 3.4)
    for marks, markers, colour, share in _marked(picture):
        of_species = marks.of_species()
        for species in np.unique(of_species):
            x, y = marks.position_nm[of_species == species].T
            _draw_marks(axes, x, y, markers[species], colour, size=share * size, width=0.9 * enlarged)
    axes.set(xticks=[], yticks=[], xlim=x_nm, ylim=y_nm)
    draw_scale_bar(axes)
    if has_legend and any(marks.species is not None for marks, *_ in _marked(picture)):
        _draw_species(axes, picture)


def _marked(picture: Picture) -> tuple[tuple[Marks, tuple[str, str], str, float], ...]:
    """Marks of a picture with their markers, colour, and share of the size of a circle."""
    return (picture.true, TRUE_MARKERS, TRUE, 1.0), (picture.told, TOLD_MARKERS, TOLD, 0.9)


def _draw_marks(
    axes: Axes, x: Any, y: Any, marker: str, colour: str, *, size: float, width: float, **options: Any
) -> None:
    for outline, edge in ((1.9 / 0.9, "black"), (1.0, colour)):  # visible on any colour
        axes.plot(x, y, marker, mfc="none", mec=edge, ms=size, mew=outline * width, linestyle="none", **options)


def _draw_species(axes: Axes, picture: Picture) -> None:
    """Draw the legend of species above the image, at its right end: the markers of each, then its number."""
    place = 1.0
    for species in (1, 0):
        axes.text(place, _BAR_HEIGHT, f"{species}", transform=axes.transAxes, va="center", ha="right", fontsize=7)
        place -= 0.04
        for marks, markers, colour, share in reversed(_marked(picture)):
            if len(marks):
                place -= 0.05
                above = {"transform": axes.transAxes, "clip_on": False, "label": f"species {species}"}
                _draw_marks(axes, [place], [_BAR_HEIGHT], markers[species], colour, size=5 * share, width=0.9, **above)
        place -= 0.05


def draw_scale_bar(axes: Axes, *, colour: str = "black") -> None:
    """Draw a bar of a round length above axes in nm, from their left end, with its length beside it."""
    left, right = axes.get_xlim()
    length = bar_length(right - left)
    bar = axes.plot(
        [left, left + length],
        [_BAR_HEIGHT, _BAR_HEIGHT],
        transform=axes.get_xaxis_transform(),
        color=colour,
        linewidth=1.8,
        clip_on=False,
        label="scale bar",
    )[0]
    bar.set_solid_capstyle("butt")
    share = length / (right - left)
    axes.text(
        share + 0.03, _BAR_HEIGHT, f"{length:g} nm", transform=axes.transAxes, va="center", color=colour, fontsize=7
    )


def draw_values(axes: Axes, picture: Picture) -> None:
    """Draw the colour bar of an image."""
    draw_colour_bar(axes, picture.image, few_levels(picture.colours), picture.limits, picture.label)
    axes.images[0].set_alpha(FADED if picture.is_faded else None)


def draw_spectrum(
    axes: Axes, transform: NDArray[np.float64], grid: Grid, limits: Limits, *, ring_q: float | None = None
) -> None:
    """Draw log10 |FFT| with axes in rad/nm, 2 pi included.

    Parameters
    ----------
    transform
        (y, x) array with the zero wavevector in the middle; see :func:`qpibench.pages.fourier.spectrum`.
    limits
        Values at the ends of the colour map.
    ring_q
        Wavevector of a dotted half circle, rad/nm, beside which the other half is to be seen; None or NaN for none.
    """
    x, y = edges(wavevectors(grid.nx, grid.pitch_x_nm)), edges(wavevectors(grid.ny, grid.pitch_y_nm))
    axes.imshow(
        transform,
        origin="lower",
        extent=(*x, *y),
        cmap=few_levels(SPECTRUM),
        vmin=limits[0],
        vmax=limits[1],
        interpolation="none",
        aspect="auto",
    )
    if ring_q is not None and np.isfinite(ring_q):
        angle = np.linspace(0, np.pi, 91)
        axes.plot(ring_q * np.cos(angle), ring_q * np.sin(angle), ":", color=RING, linewidth=1.0)
    axes.set(xlim=x, ylim=y)
    axes.locator_params(nbins=5)
    axes.tick_params(length=2, pad=1.5)
    axes.set_xlabel(r"$q_x$ (rad/nm)", labelpad=0.5)
