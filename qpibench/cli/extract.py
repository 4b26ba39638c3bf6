"""``qpibench extract``."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from qpibench.cli.options import FILE, keep_apart, output_option, overwrite_option, subcommand
from qpibench.cli.progress import progress
from qpibench.cli.response import Response
from qpibench.files import check_file


@subcommand("extract")
@click.argument("map_path", type=FILE, metavar="MAP")
@click.option(
    "--positions", "positions_path", type=FILE, required=True, metavar="CSV", help="File of the scatterers, x and y."
)
@output_option("KERNEL.h5", "The file of kernels to write.")
@click.option("--channel", metavar="NAME", help="Channel of the map; may be left out if there is only one.")
@click.option(
    "--energy",
    "energies_mev",
    type=float,
    multiple=True,
    metavar="MEV",
    help="Extract the layer nearest to this energy only; may be repeated.  [default: all layers]",
)
@click.option(
    "--method", default="polar", show_default=True, metavar="ENTRY", help="An entry by name, its file, or a run folder."
)
@click.option(
    "--kernel-pixels",
    type=click.IntRange(min=2),
    metavar="N",
    help="Rows and columns of the kernel.  [default: those of the map]",
)
@click.option(
    "--origin",
    type=click.Choice(["centre", "corner", "pixel"]),
    help="Where positions count from: the centre of the field, its first pixel in nm, or that pixel in pixels."
    "  [default: centre; pixel for columns named so]",
)
@click.option("--beyond-edge", is_flag=True, help="Positions outside the map are scatterers, too.")
@click.option("--size", "size_nm", type=float, metavar="NM", help="Longer side of the map, if the file does not tell.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes.  [default: all processors]")
@overwrite_option
def command(
    *,
    map_path: Path,
    positions_path: Path,
    output: Path,
    channel: str | None,
    energies_mev: tuple[float, ...],
    method: str,
    kernel_pixels: int | None,
    origin: str | None,
    beyond_edge: bool,
    size_nm: float | None,
    workers: int | None,
    overwrite: bool,
) -> Response:
    """Extract the kernel of a measured MAP, the same at all scatterers, for one image or every energy of a stack.

      qpibench extract grid.3ds --channel "LI Demod 1 X" --positions scatterers.csv -o kernel.h5
      qpibench extract map.sxm --channel Current --positions scatterers.csv --method tikhonov -o kernel.h5

    The file of positions is a CSV with the columns x_nm and y_nm, or column and row for pixels. If a stack is
    interrupted, the same command goes on with the layers that are finished, which are kept in KERNEL.h5.parts.
    """
    from qpibench.extraction.kernel_file import write_kernels
    from qpibench.extraction.of_maps import extract_maps
    from qpibench.extraction.positions import read_positions
    from qpibench.readers.maps import read_maps

    keep_apart([output], [map_path, positions_path])
    check_file(output, if_exists=None if overwrite else "add --overwrite to replace it, or choose another file")
    maps = read_maps(map_path, size_nm=size_nm)
    positions, in_pixels = read_positions(positions_path)
    parts = output.with_name(f"{output.name}.parts")
    with progress("Extracting", unit="layers") as report:
        found = extract_maps(
            maps,
            positions,
            method,
            channel=channel,
            energies_mev=energies_mev or None,
            kernel_shape=kernel_pixels,
            origin=origin or ("pixel" if in_pixels else "centre"),  # type: ignore[arg-type]
            beyond_edge=beyond_edge,
            workers=workers,
            parts=parts,
            progress=report,
        )
    write_kernels(found, output)
    shutil.rmtree(parts, ignore_errors=True)
    kernels = found.kernels
    failed = [number for number, failure in enumerate(kernels.failures) if failure]
    count = len(kernels.failures)
    return Response(
        text=f"{count - len(failed)} of {count} kernels of {found.channel} by {kernels.method}, with"
        f" {len(kernels.position_nm):,} scatterers: {output}",
        fields={
            "path": str(output),
            "method": kernels.method,
            "channel": found.channel,
            "scatterers": len(kernels.position_nm),
            "layers": count,
            "failures": list(kernels.failures),
        },
        warnings=(*maps.warnings, *(f"Layer {number} has no kernel: {kernels.failures[number]}" for number in failed)),
    )
