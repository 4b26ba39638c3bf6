"""``qpibench export-csv``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.options import FILE, keep_apart, output_option, overwrite_option, subcommand
from qpibench.cli.response import Response


@subcommand("export-csv")
@click.argument("release_path", type=FILE, metavar="RELEASE")
@click.option("--kernel", type=int, required=True, metavar="K", help="Row of the kernel table, from 0.")
@output_option("FILE", "The CSV file to write; compressed if its name ends in .gz.")
@overwrite_option
def command(*, release_path: Path, kernel: int, output: Path, overwrite: bool) -> Response:
    """Write a kernel of RELEASE and all its images as a scatterer CSV file.

    qpibench export-csv mini.h5 --kernel 3 -o kernel_3.csv
    """
    from qpibench.release import open_release
    from qpibench.release.csv_export import export_csv

    keep_apart([output], [release_path])
    with open_release(release_path) as release:
        images = export_csv(release, kernel, output, overwrite=overwrite)
    return Response(
        text=f"{output}: kernel {kernel} and {images:,} images",
        fields={"path": str(output), "kernel": kernel, "observations": images},
    )
