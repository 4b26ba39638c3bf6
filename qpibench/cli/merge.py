"""``qpibench merge``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from qpibench.cli.options import FILE, output_option, overwrite_option, subcommand, threads_option
from qpibench.cli.progress import progress
from qpibench.cli.response import Response


@subcommand("merge")
@click.argument("folders", type=FILE, nargs=-1, required=True, metavar="DIR...")
@output_option("FILE", "The release to write.")
@click.option("--virtual", is_flag=True, help="Refer to the shards, which must be kept, instead of copying them.")
@threads_option
@overwrite_option
def command(
    *, folders: tuple[Path, ...], output: Path, virtual: bool, threads: int | None, overwrite: bool
) -> Response:
    """Make one release from the shards in the folder DIR, or in several, such as one on each disk.

      qpibench generate paper --shard 1/2 -o shards
      qpibench generate paper --shard 2/2 -o shards
      qpibench merge shards -o paper.h5

    The folders must hold all shards. Every value is read and compared with the digests of its shard. The content hash
    equals that of the same release made by one command.
    """
    from qpibench.release import merge_shards, open_release
    from qpibench.synthesis import get_backend
    from qpibench.tasks.missing import missing_tests

    backend, _ = get_backend("cpu")
    started = time.perf_counter()
    with progress("Merging") as report:
        content = merge_shards(
            folders,
            output,
            backend=backend,
            as_virtual=virtual,
            overwrite=overwrite,
            threads=threads,
            progress=report,
        )
    seconds = time.perf_counter() - started
    with open_release(output) as release:
        name, observations = release.name, release.observation_count
        missing = tuple(missing_tests(release))
    named = ", ".join(f"'{folder}'" for folder in folders)
    where = f"; they stay in the shards in {named}, which must be kept" if virtual else ""
    return Response(
        text=f"{content}  {output}\n{observations:,} images in {seconds:.2f} s{where}",
        warnings=missing,
        fields={
            "content_sha256": content,
            "path": str(output),
            "name": name,
            "observations": observations,
            "virtual": virtual,
            "seconds": seconds,
        },
    )
