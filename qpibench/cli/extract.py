"""``qpibench extract``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qpibench.cli.kernel_report import band_fields, check_new_report, figures_option
from qpibench.cli.map_options import (
    HDF5_FILE,
    beyond_edge_option,
    channel_option,
    energies_option,
    map_argument,
    origin_option,
    positions_option,
    untold_options,
)
from qpibench.cli.options import (
    keep_apart,
    output_option,
    overwrite_option,
    report_option,
    subcommand,
)
from qpibench.cli.progress import progress
from qpibench.cli.response import Response
from qpibench.cli.terminal import prints_aside
from qpibench.counting import counted
from qpibench.errors import InvalidDataError, UsageError
from qpibench.files import check_folder


@subcommand("extract")
@map_argument
@positions_option
@output_option("KERNEL.h5", "The file of kernels to write.", type=HDF5_FILE)
@channel_option
@energies_option("Extract the layer nearest to this energy only; may be repeated.  [default: all layers]")
@click.option(
    "--method", default="polar", show_default=True, metavar="ENTRY", help="An entry by name, its file, or a run folder."
)
@click.option(
    "--kernel-px",
    type=click.IntRange(min=2),
    metavar="N",
    help="Rows and columns of the kernel.  [default: those of the map]",
)
@origin_option
@beyond_edge_option
@click.option("--one-scatterer", is_flag=True, help="The map has one scatterer only.")
@untold_options
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes.  [default: all processors]")
@report_option
@figures_option
@overwrite_option
def command(
    *,
    map_path: Path,
    positions_path: Path,
    output: Path,
    channel: str | None,
    energies_mev: tuple[float, ...],
    method: str,
    kernel_px: int | None,
    origin: str | None,
    beyond_edge: bool,
    one_scatterer: bool,
    untold: dict[str, Any],
    workers: int | None,
    report: Path | None,
    figures: Path | None,
    overwrite: bool,
) -> Response:
    """Extract the kernel of a measured MAP, the same at all scatterers, for one image or every energy of a stack.

      qpibench extract grid.3ds --channel "LI Demod 1 X" --positions scatterers.csv -o kernel.h5
      qpibench extract map.sxm --channel Current --positions scatterers.csv --method tikhonov -o kernel.h5
      qpibench extract grid.3ds --channel X --positions scatterers.csv -o kernel.h5 --report kernel.html

    The file of positions is a CSV with the columns x_nm and y_nm, or column and row for pixels. If a stack is
    interrupted, the same command goes on with the layers that are finished, which are kept in KERNEL.h5.parts.
    Along a bias, the bottom and mass of a parabolic band are fitted to the wavevectors.
    """
    from qpibench.extraction.findings import find
    from qpibench.extraction.kernel_file import write_kernels
    from qpibench.extraction.layers import KeptLayers
    from qpibench.extraction.of_maps import extract_maps
    from qpibench.extraction.positions import origin_of, read_positions
    from qpibench.extraction.texts import band_text, not_parabolic, unexplained
    from qpibench.readers.maps import read_maps

    if figures is not None and report is None:
        raise UsageError("--figures belongs to a report; add --report REPORT.html.")
    keep_apart([output, report], [map_path, positions_path])
    check_new_report([output, report], figures, overwrite=overwrite)
    parts = output.with_name(f"{output.name}.parts")
    check_folder(parts)
    maps = read_maps(map_path, channel=channel, **untold)
    positions, in_pixels = read_positions(positions_path)
    count = len({tuple(position) for position in positions.tolist()})
    if count == 1 and not one_scatterer:
        raise InvalidDataError(
            f"'{positions_path}' has one scatterer: list the others, whose waves would be taken for its own, or confirm"
            " it by --one-scatterer."
        )
    if count > 1 and one_scatterer:
        raise UsageError(f"'{positions_path}' has {count:,} scatterers; leave out --one-scatterer.")
    with prints_aside(), progress("Extracting", unit="layers") as show:
        found = extract_maps(
            maps,
            positions,
            method,
            channel=channel,
            energies_mev=energies_mev or None,
            kernel_shape=kernel_px,
            origin=origin_of(positions_path, origin, in_pixels=in_pixels),
            beyond_edge=beyond_edge,
            workers=workers,
            parts=parts,
            progress=show,
        )
    write_kernels(found, output)
    KeptLayers.discard(parts)
    findings = find(found)
    if report is not None:
        from qpibench.extraction.report import write_report

        write_report(found, report, figures=figures, findings=findings)
    kernels = found.kernels
    failed = [number for number, failure in enumerate(kernels.failures) if failure]
    count = len(kernels.failures)
    at = f" at {', '.join(f'{each:g}' for each in found.axis.energy_mev)} meV" if energies_mev and found.axis else ""
    lines = [
        f"{count - len(failed)} of {counted(count, 'kernel')} of {found.channel}{at} by {kernels.method}, with"
        f" {counted(len(kernels.position_nm), 'scatterer')}: {output}"
    ]
    if band := band_text(findings):
        lines.append(band)
    if count == 1 and (changes := findings.layers[0].scatterers_text):
        lines.append(changes)
    if report is not None:
        lines.append(f"Report: {report}")
    fields = {
        "path": str(output),
        "method": kernels.method,
        "channel": found.channel,
        "scatterers": len(kernels.position_nm),
        "layers": count,
        "failures": list(kernels.failures),
    }
    if report is not None:
        fields["report"] = str(report)
    return Response(
        text="\n".join(lines),
        fields=fields | band_fields(findings),
        warnings=(
            *maps.warnings,
            *kernels.doubts,
            *filter(None, [unexplained(findings), not_parabolic(findings)]),
            *(f"Layer {number} has no kernel: {kernels.failures[number]}" for number in failed),
        ),
    )
