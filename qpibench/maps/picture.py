"""Pictures of maps: each map with its scale bar, unit and values, and log |FFT| with wavevectors below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qpibench.counting import counted
from qpibench.errors import InvalidDataError, UsageError
from qpibench.files import write_whole
from qpibench.gallery.captions import filled, shorten
from qpibench.gallery.page import CHARACTERS, Panel, Row, draw_page
from qpibench.gallery.palette import POSITIVE, SIGNED, few_levels
from qpibench.gallery.panels import Picture, draw_image, draw_spectrum
from qpibench.grid import Grid
from qpibench.maps.measurement import Channel, Maps, Step
from qpibench.pages.colour_bar import draw_colour_bar
from qpibench.pages.fourier import spectrum, spectrum_limits
from qpibench.pages.scales import Limits
from qpibench.pages.units import with_prefix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PER_ROW = 5
"""Maps in a row, at most."""

_NOT_MEASURED = "0.8"  # a grey of the page's palette
_OUTSIDE = 0.005  # share of the points beyond either end of the colours: single spikes do not stretch the scale

_MINUS = "\N{MINUS SIGN}"

_Values = NDArray[np.float64]


def draw(maps: Maps, path: str | Path, *, channel: str | None = None) -> None:
    """Draw maps and their Fourier transforms, and write a PNG.

    A channel along an axis has a row of at most five layers, evenly spaced from the first to the last. Colours run from
    the 0.5 % to the 99.5 % quantile of each map; points that were not measured are grey. The transform is log10 |FFT|
    with the mean removed and a Hann window; points that were not measured have the mean there.

    Parameters
    ----------
    maps
        The maps.
    path
        The file, whose name ends in ``.png`` or has no suffix; an existing one is replaced.
    channel
        Name or label of the channel that is drawn; all by default.

    Raises
    ------
    UsageError
        If there is no such channel, or the file's name has another suffix.
    QpibenchError
        If writing fails, as on a full disk.
    """
    drawn = maps.channels if channel is None else (maps.channel(channel),)
    heading, text = _described(maps)
    single = [_panel(one.label, one.values, one.unit, maps.grid) for one in drawn if one.values.ndim == 2]
    rows = [Row(heading=heading, text=text)]
    rows += [Row(panels=single[first : first + PER_ROW]) for first in range(0, len(single), PER_ROW)]
    rows += [Row(panels=_layers(maps, one)) for one in drawn if one.values.ndim == 3]
    _write(rows, path)


def draw_steps(before: Maps, after: Maps, path: str | Path, *, channel: str | None = None) -> None:
    """Draw maps before and after preparation, and their difference where the points are the same, and write a PNG.

    Parameters
    ----------
    before, after
        The maps.
    path
        The file, whose name ends in ``.png`` or has no suffix; an existing one is replaced.
    channel
        Name or label of the channel that is drawn; by default the first that changed or was added. A channel that was
        added is drawn beside the first one along the axis before.

    Raises
    ------
    UsageError
        If there is no such channel, or the file's name has another suffix.
    InvalidDataError
        If the maps have no channel.
    QpibenchError
        If writing fails, as on a full disk.
    """
    if not (before.channels and after.channels):
        raise InvalidDataError(f"{after.source.file} has no channel that could be drawn.")
    shown = _first_changed(before, after) if channel is None else after.channel(channel)
    same = [one for one in before.channels if one.label == shown.label]
    like = [one for one in before.channels if one.values.ndim == shown.values.ndim]
    former = (same or like or list(before.channels))[0]
    heading, _ = _described(after)
    undone, steps = before.steps[len(after.steps) :], after.steps[len(before.steps) :]
    made = filled(f"After undoing {_steps(undone)}" if undone else f"After {_steps(steps)}", CHARACTERS["page"])
    parts = [("before", _layers(before, former)), ("after", _layers(after, shown))]
    if same and before.grid == after.grid and former.values.shape == shown.values.shape:
        values = shown.values.astype(np.float64) - former.values
        difference = Channel(name=shown.name, unit=shown.unit, values=values, direction=shown.direction)
        if np.nan_to_num(values).any():
            parts.append(("after minus before", _layers(after, difference, colours=SIGNED)))
    if all(len(panels) == 1 for _, panels in parts):
        row = [replace(panels[0], title=f"{panels[0].title}\n{name}") for name, panels in parts]
        _write([Row(heading=heading, text=made, panels=row)], path)
        return
    rows = [Row(text=f"{name.capitalize()}", panels=panels) for name, panels in parts]
    _write([Row(heading=heading, text=made), *rows], path)


def _write(rows: Sequence[Row], path: str | Path) -> None:
    check_name(path)
    write_whole(path, draw_page(rows), what="Picture")


def _first_changed(before: Maps, after: Maps) -> Channel:
    known = {one.label: one.values for one in before.channels}
    for one in after.channels:
        former = known.get(one.label)
        if former is None or not np.array_equal(former, one.values, equal_nan=True):
            return one
    return after.channels[0]


def _described(maps: Maps) -> tuple[str, str]:
    grid = maps.grid
    size = f"{grid.nx} x {grid.ny} points, {grid.size_x_nm:.4g} x {grid.size_y_nm:.4g} nm, {maps.source.format}"
    if maps.axis is not None:
        first, last, unit = maps.axis.values[0], maps.axis.values[-1], maps.axis.unit
        size += f"; {counted(len(maps.axis.values), 'layer')}, {maps.axis.name} from {first:.4g} to {last:.4g}"
        size += f" {unit}" if unit else ""
    steps = f"\nPrepared: {_steps(maps.steps)}" if maps.steps else ""
    text = "\n".join(filled(line, CHARACTERS["page"]) for line in (size + steps).splitlines())
    return shorten(maps.source.file, CHARACTERS["heading"]), text


def _steps(steps: Sequence[Step]) -> str:
    """Steps with the settings that are short enough to be read."""
    names = []
    for step in steps:
        settings = {name: value for name, value in step.settings.items() if value not in (None, [], "")}
        told = ", ".join(f"{name} = {shorten(str(value), 40)}" for name, value in settings.items())
        names.append(f"{step.name} ({told})" if told else step.name)
    return "; ".join(names) or "no step"


def _layers(maps: Maps, channel: Channel, *, colours: str = POSITIVE) -> list[Panel]:
    if channel.values.ndim == 2 or maps.axis is None:
        return [_panel(channel.label, channel.values, channel.unit, maps.grid, colours=colours)]
    count = len(channel.values)
    chosen = np.unique(np.rint(np.linspace(0, count - 1, min(PER_ROW, count))).astype(int))
    is_bias = maps.axis.unit == "V" and "bias" in maps.axis.name.lower()
    factor, unit = (1e3, "mV") if is_bias else (1.0, maps.axis.unit)
    return [
        _panel(
            f"{shorten(channel.label, CHARACTERS['panel'])}\nat {_number(factor * maps.axis.values[k])} {unit}",
            channel.values[k],
            channel.unit,
            maps.grid,
            colours=colours,
        )
        for k in chosen
    ]


def _panel(title: str, values: NDArray[np.floating], unit: str, grid: Grid, *, colours: str = POSITIVE) -> Panel:
    image = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    measured = image[np.isfinite(image)]
    if not len(measured):
        title += "\nnothing measured"
        measured = np.zeros(1)
    low, high = robust_limits(measured)
    if colours == SIGNED:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    factor, scaled_unit = with_prefix(max(abs(low), abs(high)), unit)
    picture = Picture(image=factor * image, colours=colours, limits=(factor * low, factor * high))
    known = np.where(np.isfinite(image), image, measured.mean()) / (np.abs(measured).max() or 1.0)
    return Panel(
        title=title,
        draw=partial(_draw_map, picture=picture, grid=grid),
        height=_height(grid.ny * grid.pitch_y_nm / (grid.nx * grid.pitch_x_nm)),
        draw_bar=partial(_draw_values, values=factor * measured, picture=picture, label=scaled_unit),
        below=Panel(
            title="",
            draw=partial(
                draw_spectrum,
                transform=spectrum(known, grid, hann=True),
                grid=grid,
                limits=spectrum_limits(known, grid, hann=True),
            ),
            height=_height(grid.pitch_x_nm / grid.pitch_y_nm),
        ),
    )


def check_name(path: str | Path) -> None:
    """Raise UsageError if the name of a picture has another suffix than ``.png``; it may have none."""
    if Path(path).suffix.lower() not in ("", ".png"):
        raise UsageError(f"A picture of maps is a PNG; '{Path(path).name}' does not end in .png.")


def robust_limits(measured: _Values) -> Limits:
    """Values at the ends of the colours, between which all but 1 % of the measured values lie."""
    low, high = (float(each) for each in np.quantile(measured, [_OUTSIDE, 1 - _OUTSIDE]))
    return (low, high) if high > low else (low - (abs(low) or 1.0), high + (abs(high) or 1.0))


def _draw_map(axes: Axes, picture: Picture, grid: Grid) -> None:
    axes.set_facecolor(_NOT_MEASURED)
    draw_image(axes, picture, grid)


def _draw_values(axes: Axes, values: _Values, picture: Picture, label: str) -> None:
    draw_colour_bar(axes, values, few_levels(picture.colours), picture.limits, label)


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", _MINUS)


def _height(ratio: float) -> float:
    return float(np.clip(ratio, 0.3, 2.0))
