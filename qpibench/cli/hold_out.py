"""``qpibench hold-out``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qpibench.cli.map_options import (
    beyond_edge_option,
    channel_option,
    map_argument,
    origin_option,
    positions_option,
    untold_options,
)
from qpibench.cli.options import subcommand
from qpibench.cli.progress import progress
from qpibench.cli.response import Response
from qpibench.cli.table import aligned
from qpibench.cli.terminal import prints_aside
from qpibench.errors import InvalidDataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qpibench.extraction.held_out import HeldOut
    from qpibench.maps import Channel, Maps


@subcommand("hold-out")
@map_argument
@positions_option
@channel_option
@click.option(
    "--energy",
    "energy_mev",
    type=float,
    metavar="MEV",
    help="The layer of a stack nearest to this energy.  [default: that in the middle]",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=["polar", "tikhonov", "wiener"],
    show_default=True,
    metavar="ENTRY",
    help="An entry by name, its file, or a run folder; may be repeated.",
)
@click.option("--noise", type=float, metavar="VALUE", help="Standard deviation of the noise, in the map's unit.")
@origin_option
@beyond_edge_option
@untold_options
def command(
    *,
    map_path: Path,
    positions_path: Path,
    channel: str | None,
    energy_mev: float | None,
    methods: tuple[str, ...],
    noise: float | None,
    origin: str | None,
    beyond_edge: bool,
    untold: dict[str, Any],
) -> Response:
    """Compare extractions of a measured MAP by pixels that were held out, for which no true kernel is needed.

      qpibench hold-out map.sxm --channel Current --positions scatterers.csv
      qpibench hold-out grid.h5 --energy 40 --positions scatterers.csv --method polar --method refine

    Blocks a tenth of the field wide are masked, a fifth of them at a time, and predicted from the rest. The score is
    the rms of what is left there over the noise: 1 is a kernel that leaves nothing but noise. The noise is that between
    forward and backward scan if the map has both, otherwise that at the highest wavevectors.
    """
    from qpibench.extraction.held_out import held_out_score
    from qpibench.extraction.layers import shows_something
    from qpibench.extraction.of_maps import chosen_layers
    from qpibench.extraction.positions import origin_of, read_positions
    from qpibench.readers.maps import read_maps

    maps = read_maps(map_path, channel=channel, **untold)
    chosen, layers, axis = chosen_layers(maps, channel, None if energy_mev is None else [energy_mev])
    layer = len(layers) // 2
    if not shows_something(layers[layer]):
        raise InvalidDataError("The layer in the middle is constant or was not measured; choose another by --energy.")
    positions, in_pixels = read_positions(positions_path)
    level, source = (noise, "given") if noise is not None else _noise(maps, chosen, layers[layer], energy_mev)
    measured_from = origin_of(positions_path, origin, in_pixels=in_pixels)
    found: dict[str, HeldOut] = {}
    failed: dict[str, str] = {}
    with (
        prints_aside(),
        progress("Extracting", unit="methods") as report,
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always", UserWarning)
        for done, method in enumerate(methods, 1):
            try:
                found[method] = held_out_score(
                    layers[layer],
                    positions,
                    (maps.grid.size_y_nm, maps.grid.size_x_nm),
                    method,
                    noise=level,
                    origin=measured_from,
                    beyond_edge=beyond_edge,
                )
            except InvalidDataError as error:
                failed[method] = str(error)
            if report is not None:
                report(done, len(methods))
    if not found:
        raise InvalidDataError(" ".join(failed.values()))
    at = "" if axis is None else f" at {axis.values[layer]:g} {axis.unit}"
    rows = [["method", "score", "95 % interval", ""]]
    for method, one in sorted(found.items(), key=lambda item: item[1].score):
        mark = "of a crop: takes no masked pixels, not to be compared" if one.is_crop else ""
        rows.append([method, f"{one.score:.3f}", f"{one.interval[0]:.3f} to {one.interval[1]:.3f}", mark])
    return Response(
        text=f"{chosen.label}{at}, noise {level:.3g} {chosen.unit} ({source})\n\n{aligned(rows)}",
        fields={
            "channel": chosen.label,
            "noise": level,
            "noise_source": source,
            "scores": {
                method: {"score": one.score, "interval": list(one.interval), "is_crop": one.is_crop}
                for method, one in found.items()
            },
        },
        warnings=(
            *maps.warnings,
            *(f"{method} has no score: {why}" for method, why in failed.items()),
            *dict.fromkeys(str(each.message) for each in said if each.category is UserWarning),
        ),
    )


def _noise(maps: Maps, channel: Channel, image: NDArray[np.float64], energy_mev: float | None) -> tuple[float, str]:
    """Noise of a layer, and where it is from."""
    from qpibench.extraction.of_maps import chosen_layers
    from qpibench.physics.noise import noise_of_scans, noise_plateau

    other = {"forward": "backward", "backward": "forward"}.get(channel.direction or "")
    if other is not None and any(one.name == channel.name and one.direction == other for one in maps.channels):
        energies = None if energy_mev is None else [energy_mev]
        _, layers, _ = chosen_layers(maps, f"{channel.name} ({other})", energies)
        level, source = (
            noise_of_scans(image, layers[len(layers) // 2]),
            "forward minus backward scan over the root of 2",
        )
    else:
        level, source = noise_plateau(image), "highest wavevectors"
    if not level > 0:
        raise InvalidDataError(f"{channel.label} shows no noise ({source}); give its noise (--noise).")
    return level, source
