"""A picture of the scatterers that were found in a map, numbered as the lines of their file, to check them by eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qpibench.counting import counted
from qpibench.files import write_whole
from qpibench.gallery.captions import filled
from qpibench.gallery.page import STYLE
from qpibench.gallery.palette import GREYS, TRUE, in_palette
from qpibench.gallery.panels import draw_scale_bar
from qpibench.maps.detection import Detected, without_plane
from qpibench.maps.measurement import Maps
from qpibench.maps.picture import check_name, robust_limits
from qpibench.pages.notation import plain
from qpibench.pages.plotting import file_content, own_style
from qpibench.pages.scales import edges

# isort: split
import matplotlib as mpl
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

_INCHES, _ABOVE, _AROUND = 8.0, 0.75, 0.15
_DPI = 120
_NOT_MEASURED = "#8080c0"


def draw_scatterers(maps: Maps, found: Detected, path: str | Path) -> None:
    """Draw a map without its plane, with a numbered circle around each scatterer, and write a PNG.

    The numbers count the lines of a file of positions, 1 for the strongest scatterer. Circles have the size of the
    scatterers; they are dotted where the edge of the field or a point that was not measured is near.

    Parameters
    ----------
    maps
        The maps.
    found
        The scatterers of one of its channels.
    path
        The file, whose name ends in ``.png`` or has no suffix; an existing one is replaced.

    Raises
    ------
    UsageError
        If the file's name has another suffix.
    QpibenchError
        If writing fails, as on a full disk.
    """
    check_name(path)
    values = maps.channel(found.channel).values
    image = without_plane((values if found.layer is None else values[found.layer]).astype(np.float64))
    x_nm, y_nm = edges(maps.grid.x_nm), edges(maps.grid.y_nm)
    tall = float(np.clip((y_nm[1] - y_nm[0]) / (x_nm[1] - x_nm[0]), 0.2, 3.0)) * _INCHES
    width, height = _INCHES + 2 * _AROUND, tall + _ABOVE + _AROUND
    with own_style(STYLE):
        figure = Figure(figsize=(width, height), dpi=_DPI)
        axes = figure.add_axes((_AROUND / width, _AROUND / height, _INCHES / width, tall / height))
        axes.set_facecolor(_NOT_MEASURED)
        low, high = robust_limits(image[np.isfinite(image)])
        axes.imshow(
            image,
            origin="lower",
            extent=(*x_nm, *y_nm),
            cmap=mpl.colormaps["gray"].resampled(GREYS),
            vmin=low,
            vmax=high,
            interpolation="none",
            aspect="auto",
        )
        outline = [withStroke(linewidth=2.2, foreground="black")]
        for at_edge, style in ((False, "solid"), (True, (0, (1, 1)))):
            places = found.position_nm[found.at_edge == at_edge]
            sizes = np.full(len(places), found.size_nm)
            for colour, line in (("black", 2.2), (TRUE, 1.1)):
                axes.add_collection(
                    EllipseCollection(
                        sizes,
                        sizes,
                        np.zeros(len(places)),
                        units="xy",
                        offsets=places,
                        offset_transform=axes.transData,
                        facecolors="none",
                        edgecolors=colour,
                        linewidths=line,
                        linestyles=style if colour != "black" else "solid",
                    )
                )
        for number, (x, y) in enumerate(found.position_nm, start=1):
            # The number stands on the side of the circle that is nearer to the middle of the map.
            side = -1 if x > 0 else 1
            axes.annotate(
                str(number),
                (x + side * found.size_nm / 2, y),
                xytext=(2 * side, 0),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                color=TRUE,
                fontsize=7.5,
                path_effects=outline,
            )
        axes.set(xticks=[], yticks=[], xlim=x_nm, ylim=y_nm)
        draw_scale_bar(axes)
        figure.text(
            _AROUND / width, 1 - 0.08 / height, plain(_caption(maps, found)), va="top", linespacing=1.25, fontsize=8
        )
        write_whole(path, in_palette(file_content(figure, "png", dpi=_DPI)), what="Picture")


def number_of(found: Detected) -> str:
    """The number of scatterers in words, such as ``'1 dark scatterer'``."""
    return counted(len(found), f"{found.polarity} scatterer")


def _caption(maps: Maps, found: Detected) -> str:
    where = found.channel
    if found.layer is not None and maps.axis is not None:
        where += f" at {maps.axis.values[found.layer]:.4g} {maps.axis.unit}"
    marked = int(found.at_edge.sum())
    origin = "found in the map" if found.is_size_found else "as told"
    text = f"{maps.source.file}, {where}: {number_of(found)}, {found.size_nm:.3g} nm wide ({origin})"
    return filled(text + (f"; {marked} at an edge, dotted" if marked else ""), 150)
