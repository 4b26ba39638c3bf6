"""``qpibench import-csv``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.answer import Answer
from qpibench.cli.options import FILE, keep_apart, output_option, overwrite_option, subcommand
from qpibench.cli.progress import progress


@subcommand("import-csv")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@output_option("RELEASE", "The release to write.")
@click.option("--name", help="Name of the release.  [default: that of the file]")
@overwrite_option
def command(*, files: tuple[Path, ...], output: Path, name: str | None, overwrite: bool) -> Answer:
    """Make a release of scatterer CSV files, one for each kernel.

    qpibench import-csv kernel_*.csv -o measured.h5 --name measured
    """
    from qpibench.release.csv_import import import_release

    keep_apart([output], files)
    with progress("Reading") as report:
        content, imported = import_release(files, output, name=name, overwrite=overwrite, progress=report)
    images = len(imported.observations)
    return Answer(
        text=f"{content}  {output}\n{images:,} images of {len(files):,} kernels; pixels are read in the order"
        f" {imported.spec.axis_order} (relative residual {imported.residual[imported.spec.axis_order]:.3g})",
        fields={
            "content_sha256": content,
            "path": str(output),
            "name": imported.spec.name,
            "kernels": len(files),
            "observations": images,
            "axis_order": imported.spec.axis_order,
            "residual": imported.residual,
        },
    )
