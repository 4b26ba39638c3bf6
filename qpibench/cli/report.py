"""``qpibench report``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.kernel_report import band_fields, check_new_report, figures_option
from qpibench.cli.map_options import energies_option
from qpibench.cli.options import FILE, keep_apart, output_option, overwrite_option, subcommand
from qpibench.cli.response import Response


@subcommand("report")
@click.argument("kernel_path", type=FILE, metavar="KERNEL.h5")
@output_option("REPORT.html", "The report to write, one HTML file.")
@energies_option("Show the layer nearest to this energy; may be repeated.  [default: three of those with a kernel]")
@figures_option
@overwrite_option
def command(
    *, kernel_path: Path, output: Path, energies_mev: tuple[float, ...], figures: Path | None, overwrite: bool
) -> Response:
    """Write the report of the kernels that 'qpibench extract' has written to KERNEL.h5.

    qpibench report kernel.h5 -o kernel.html
    qpibench report kernel.h5 -o kernel.html --figures kernel_figures
    qpibench report kernel.h5 -o kernel.html --energy -20 --energy 40
    """
    from qpibench.extraction.findings import find
    from qpibench.extraction.kernel_file import read_kernel_file
    from qpibench.extraction.report import write_report
    from qpibench.extraction.texts import band_text, not_parabolic, unexplained

    keep_apart([output], [kernel_path])
    check_new_report([output], figures, overwrite=overwrite)
    content = read_kernel_file(kernel_path)
    findings = find(content)
    write_report(content, output, figures=figures, findings=findings, energies_mev=energies_mev or None)
    return Response(
        text="\n".join(each for each in (f"Report: {output}", band_text(findings)) if each),
        fields={"path": str(output), "layers": len(content.kernels.failures), **band_fields(findings)},
        warnings=(*content.kernels.doubts, *filter(None, [unexplained(findings), not_parabolic(findings)])),
    )
