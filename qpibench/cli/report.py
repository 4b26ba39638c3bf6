"""``qpibench report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from qpibench.cli.options import FILE, OUTPUT_FOLDER, keep_apart, output_option, overwrite_option, subcommand
from qpibench.cli.response import Response
from qpibench.errors import UsageError
from qpibench.files import check_file

figures_option = click.option(
    "--figures", type=OUTPUT_FOLDER, metavar="DIR", help="Also write the report's figures and numbers, as files."
)


@subcommand("report")
@click.argument("kernel_path", type=FILE, metavar="KERNEL.h5")
@output_option("REPORT.html", "The report to write, one HTML file.")
@figures_option
@overwrite_option
def command(*, kernel_path: Path, output: Path, figures: Path | None, overwrite: bool) -> Response:
    """Write the report of the kernels that 'qpibench extract' has written to KERNEL.h5.

    qpibench report kernel.h5 -o kernel.html
    qpibench report kernel.h5 -o kernel.html --figures kernel_figures
    """
    from qpibench.cli.extract import band_fields
    from qpibench.extraction.findings import find
    from qpibench.extraction.kernel_file import read_kernel_file
    from qpibench.extraction.report import write_report
    from qpibench.extraction.texts import band_text, unexplained

    keep_apart([output], [kernel_path])
    check_new([output], figures, overwrite=overwrite)
    content = read_kernel_file(kernel_path)
    findings = find(content)
    write_report(content, output, figures=figures, findings=findings)
    return Response(
        text="\n".join(each for each in (f"Report: {output}", band_text(findings)) if each),
        fields={"path": str(output), "layers": len(content.kernels.failures), **band_fields(findings)},
        warnings=(*content.kernels.doubts, *filter(None, [unexplained(findings)])),
    )


def check_new(files: Sequence[Path | None], figures: Path | None, *, overwrite: bool) -> None:
    """Refuse files and a folder of figures that exist, unless they may be replaced, or that are one another."""
    written = [path for path in files if path is not None]
    for path in written:
        check_file(path, if_exists=None if overwrite else "add --overwrite to replace it, or choose another file")
    if figures is None:
        return
    from qpibench.extraction.report import figure_files

    for path in map(Path.resolve, written):
        if path == figures.resolve() or path in figures.resolve().parents:
            raise UsageError(f"'{figures}' is a file that is written, too; choose another folder for --figures.")
    for path in figure_files(figures):
        check_file(
            path, if_exists=None if overwrite else "add --overwrite to replace figures, or choose another folder"
        )
