"""``qpibench import``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.options import FILE, keep_apart, output_option, overwrite_option, subcommand
from qpibench.cli.progress import progress
from qpibench.cli.response import Response
from qpibench.readers.images import reader_names


@subcommand("import")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@output_option("RELEASE", "The release to write.")
@click.option(
    "--reader",
    default="csv",
    show_default=True,
    metavar="NAME",
    help=f"Format of the files: {', '.join(reader_names())}.",
)
@click.option("--name", help="Name of the release.  [default: that of the file]")
@click.option(
    "--max-residual",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    metavar="R",
    help="Refuse images that differ more from the sum of their kernel at the stated positions, as a fraction of the"
    " image's norm; above 0.1 there is a warning.",
)
@overwrite_option
def command(
    *, files: tuple[Path, ...], output: Path, reader: str, name: str | None, max_residual: float, overwrite: bool
) -> Response:
    """Make a release from foreign files, such as the published scatterer CSV files, one file per kernel.

    A CSV file is text in UTF-8, also compressed by gzip, with fields separated by commas, semicolons, tabs or spaces.

    qpibench import kernel_*.csv -o measured.h5 --name measured
    """
    from qpibench.release.importing import import_release

    keep_apart([output], files)
    with progress("Reading", unit="files") as report:
        content, maps = import_release(
            files,
            output,
            reader=reader,
            name=name,
            overwrite=overwrite,
            max_residual=max_residual,
            progress=report,
        )
    images, kernels = len(maps.image), 0 if maps.kernel_image is None else len(maps.kernel_image)
    remark = f"; {maps.remark}" if maps.remark else ""
    return Response(
        text=f"{content}  {output}\n{images:,} images of {kernels:,} kernels{remark}",
        fields={
            "content_sha256": content,
            "path": str(output),
            "name": output.stem if name is None else name,
            "reader": reader,
            "kernels": kernels,
            "observations": images,
            **maps.details,
        },
        warnings=maps.warnings,
    )
