"""``qpibench verify``."""

from __future__ import annotations

import click

from qpibench.cli.options import FILE_OR_URL, backend_options, choose_backend, subcommand, threads_option
from qpibench.cli.progress import progress
from qpibench.cli.response import Response
from qpibench.errors import UsageError


@subcommand("verify")
@click.argument("file", type=FILE_OR_URL)
@click.option("--regenerate", is_flag=True, help="Also make the release again from its spec, in memory, and compare.")
@backend_options
@threads_option
def command(*, file: str, regenerate: bool, backend_name: str | None, gpu: bool, threads: int | None) -> Response:
    """Recompute the content hash of the release FILE and compare it with the hash stored in the file.

    qpibench verify mini.h5
    qpibench verify mini.h5 --regenerate
    qpibench verify s3://bucket/paper.h5
    """
    from qpibench.release import verify_release

    if not regenerate and (gpu or backend_name is not None):
        raise UsageError("A backend is used by --regenerate only; add it, or leave the backend away.")
    backend = choose_backend(backend_name, gpu=gpu) if regenerate else None
    with progress("Verifying") as report:
        content = verify_release(file, backend=backend, threads=threads, progress=report)
    how = "All hashes match, also those of the release made again." if regenerate else "All hashes match."
    return Response(
        text=f"{content}  {file}\n{how}",
        fields={"content_sha256": content, "path": file, "regenerated": regenerate},
    )
