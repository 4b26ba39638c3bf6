"""``qpibench scatterers``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qpibench.cli.map_options import CSV_FILE, channel_option, map_argument, untold_options
from qpibench.cli.options import OUTPUT_FILE, check_new, keep_apart, output_option, overwrite_option, subcommand
from qpibench.cli.response import Response


@subcommand("scatterers")
@map_argument
@output_option("SCATTERERS.csv", "The file of positions to write.", type=CSV_FILE)
@channel_option
@click.option("--energy", "energy_mev", type=float, metavar="MEV", help="Look in the layer nearest to this energy.")
@click.option(
    "--polarity",
    type=click.Choice(["bright", "dark", "either"]),
    default="either",
    show_default=True,
    help="Whether scatterers are bright or dark; either: whichever kind stands out more.",
)
@click.option(
    "--width", "width_nm", type=float, metavar="NM", help="Width of a scatterer at half its height.  [default: found]"
)
@click.option("--most", type=click.IntRange(min=1), metavar="N", help="Keep the N strongest.  [default: all]")
@click.option(
    "--threshold",
    type=float,
    default=4.0,
    show_default=True,
    metavar="SIGMA",
    help="Smallest response, in its robust standard deviations.",
)
@click.option(
    "--share",
    type=float,
    default=0.4,
    show_default=True,
    metavar="SHARE",
    help="Smallest response, as a share of the typical one; 0 for scatterers of different heights.",
)
@click.option("--picture", type=OUTPUT_FILE, metavar="PICTURE.png", help="Also draw the map with numbered circles.")
@untold_options
@overwrite_option
def command(
    *,
    map_path: Path,
    output: Path,
    channel: str | None,
    energy_mev: float | None,
    polarity: str,
    width_nm: float | None,
    most: int | None,
    threshold: float,
    share: float,
    picture: Path | None,
    untold: dict[str, Any],
    overwrite: bool,
) -> Response:
    """Find the scatterers of a topograph or a MAP: round spots of one size.

      qpibench scatterers scan.sxm --channel Z -o scatterers.csv --picture scatterers.png
      qpibench scatterers grid.3ds --channel "LI Demod 1 X" --energy -20 --polarity dark -o scatterers.csv

    The file has x_nm and y_nm from the centre of the field, the response in its robust standard deviations, size_nm,
    and at_edge: 1 where an edge is within half a size. The picture shows the numbers of its lines. Delete false ones
    and add missed ones by hand, or leave both to the entry refine; docs/maps.md tells how many there are.
    """
    from qpibench.extraction.positions import write_positions
    from qpibench.maps.detection import find_scatterers
    from qpibench.maps.detection_picture import draw_scatterers, number_of
    from qpibench.readers.maps import read_maps

    keep_apart([output, picture], [map_path])
    check_new([output, picture], overwrite=overwrite)
    maps = read_maps(map_path, channel=channel, **untold)
    found = find_scatterers(
        maps,
        channel,
        energy_mev=energy_mev,
        polarity=polarity,  # type: ignore[arg-type]
        size_nm=width_nm,
        most=most,
        threshold=threshold,
        share=share,
    )
    if picture is not None:
        draw_scatterers(maps, found, picture)
    write_positions(
        output,
        found.position_nm,
        columns={
            "response": found.response,
            "size_nm": [found.size_nm] * len(found),
            "at_edge": found.at_edge.astype(int),
        },
    )
    marked = int(found.at_edge.sum())
    width = f"{found.size_nm:.3g} nm wide ({'found in the map' if found.is_size_found else 'as told'})"
    at = (
        ""
        if found.layer is None or energy_mev is None or maps.axis is None
        else f" at {maps.axis.energy_mev[found.layer]:g} meV"
    )
    return Response(
        text=f"{output}: {number_of(found)} of {found.channel}{at}, {width}, {marked} at an edge",
        fields={
            "path": str(output),
            "channel": found.channel,
            "layer": found.layer,
            "polarity": found.polarity,
            "scatterers": len(found),
            "at_edge": marked,
            "size_nm": found.size_nm,
            "is_size_found": found.is_size_found,
            "weakest_response": float(found.response[-1]),
        },
        warnings=maps.warnings,
    )
