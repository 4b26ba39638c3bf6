"""``qpibench maps``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qpibench.cli.map_options import HDF5_FILE, untold_options
from qpibench.cli.options import FILE, OUTPUT_FILE, check_new, keep_apart, overwrite_option, subcommand
from qpibench.cli.response import Response
from qpibench.cli.table import aligned
from qpibench.counting import counted

if TYPE_CHECKING:
    from qpibench.maps import Channel, Maps


@subcommand("maps")
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
@click.option("-o", "--output", type=OUTPUT_FILE, metavar="PICTURE.png", help="Also draw the maps.")
@click.option(
    "--channel",
    metavar="NAME",
    help="Draw and join only this channel; where a file has channels of several sizes, read those that fit it.",
)
@click.option("--save", type=HDF5_FILE, metavar="MAPS.h5", help="Also write the maps to a file that xarray opens.")
@untold_options
@overwrite_option
def command(
    *,
    files: tuple[Path, ...],
    output: Path | None,
    channel: str | None,
    save: Path | None,
    untold: dict[str, Any],
    overwrite: bool,
) -> Response:
    """Show what the FILE of a microscope contains, and draw it. Several are joined to a stack.

      qpibench maps scan.sxm -o scan.png
      qpibench maps grid.3ds --channel "LI Demod 1 X" -o didv.png --save grid.h5
      qpibench maps scan_001.sxm scan_002.sxm scan_003.sxm --save stack.h5

    Single maps of one frame are joined by the bias of their set points. Where the files do not tell it, --energies
    has one number for each.

    Formats: Nanonis (.sxm, .3ds), Gwyddion (.gwy), NumPy, MATLAB, HDF5 and NetCDF, and matrices of text.
    """
    from qpibench.maps.file import write_maps
    from qpibench.maps.picture import draw
    from qpibench.maps.stack import only, stacked
    from qpibench.readers.maps import read_maps

    keep_apart([output, save], list(files))
    check_new([output, save], overwrite=overwrite)
    if len(files) == 1:
        maps = read_maps(files[0], channel=channel, **untold)
    else:
        energies = untold.pop("energy_mev")
        scans = (read_maps(file, channel=channel, **untold) for file in files)
        maps = stacked([scan if channel is None else only(scan, channel) for scan in scans], energies)
    if channel is not None:
        maps.channel(channel)
    if output is not None:
        draw(maps, output, channel=channel)
    if save is not None:
        write_maps(maps, save)
    fields = described(maps)
    return Response(text=_text(maps, fields), fields=fields, warnings=maps.warnings)


def described(maps: Maps) -> dict[str, Any]:
    """The facts about maps that JSON can hold."""
    axis = maps.axis
    return {
        "file": maps.source.file,
        "format": maps.source.format,
        "sha256": maps.source.sha256,
        "grid": maps.grid.model_dump(mode="json"),
        "centre_nm": list(maps.centre_nm),
        "angle_deg": maps.angle_deg,
        "scan_direction": maps.scan_direction,
        "axis": None
        if axis is None
        else {"name": axis.name, "unit": axis.unit, "values": [float(value) for value in axis.values]},
        "channels": [_channel(one) for one in maps.channels],
        "steps": [{"name": step.name, "settings": dict(step.settings)} for step in maps.steps],
        "metadata": dict(maps.metadata),
    }


def _channel(channel: Channel) -> dict[str, Any]:
    import numpy as np

    seen = channel.values[np.isfinite(channel.values)]
    return {
        "name": channel.name,
        "direction": channel.direction,
        "unit": channel.unit,
        "shape": list(channel.values.shape),
        "measured": int(seen.size),
        "min": float(seen.min()) if seen.size else None,
        "max": float(seen.max()) if seen.size else None,
    }


def _text(maps: Maps, fields: dict[str, Any]) -> str:
    grid, axis = maps.grid, maps.axis
    lines = [
        f"{maps.source.file}: {maps.source.format}",
        f"{grid.nx} x {grid.ny} points, {grid.size_x_nm:.6g} x {grid.size_y_nm:.6g} nm from the first to the last,"
        f" turned by {maps.angle_deg:g} degrees"
        + ("" if maps.scan_direction is None else f", scanned {maps.scan_direction}"),
    ]
    if axis is not None:
        lines.append(
            f"{axis.name}: {counted(len(axis.values), 'value')}, {axis.values[0]:g} to {axis.values[-1]:g} {axis.unit}"
        )
    for name in ("set-point bias", "set-point"):
        if name in maps.metadata:
            lines.append(f"{name}: {maps.metadata[name]}")
    rows = [["channel", "unit", "shape", "measured", "from", "to"]]
    for one, facts in zip(maps.channels, fields["channels"], strict=True):
        share = facts["measured"] / max(one.values.size, 1)
        limits = ["-" if facts[end] is None else f"{facts[end]:.4g}" for end in ("min", "max")]
        rows.append([one.label, one.unit, " x ".join(map(str, one.values.shape)), f"{share:.0%}", *limits])
    lines += ["", aligned(rows)]
    if maps.steps:
        lines += ["", "Prepared by: " + ", ".join(step.name for step in maps.steps)]
    return "\n".join(lines)
