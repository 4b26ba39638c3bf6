"""``qpibench generate``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import click

from qpibench.cli.answer import Answer
from qpibench.cli.options import (
    backend_options,
    choose_backend,
    output_option,
    overwrite_option,
    subcommand,
    threads_option,
)
from qpibench.cli.progress import progress


@subcommand("generate")
@click.argument("spec")
@output_option("FILE", "The release to write.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a field; may be repeated.")
@backend_options
@threads_option
@click.option("--resume", is_flag=True, help="Complete an interrupted run; without one, start afresh.")
@overwrite_option
@click.option("--compression", type=click.Choice(["gzip"]), help="Smaller and slower to read, with the same hash.")
def command(
    *,
    spec: str,
    output: Path,
    overrides: tuple[str, ...],
    backend_name: str | None,
    gpu: bool,
    threads: int | None,
    resume: bool,
    overwrite: bool,
    compression: Literal["gzip"] | None,
) -> Answer:
    """Make a release from SPEC: paper, mini, scatterer64, or a TOML file.

      qpibench generate mini -o mini.h5
      qpibench generate paper -o paper.h5 --set seed=7 --set scatterers.max=20

    The same spec gives the same bits on every machine, and so the same content hash. An interrupted run leaves the
    target as it was, and is completed by --resume.
    """
    from qpibench.release import open_release, write_release
    from qpibench.specs import load_spec

    resolved = load_spec(spec, overrides=overrides)
    backend = choose_backend(backend_name, gpu=gpu)
    started = time.perf_counter()
    try:
        with progress("Generating") as report:
            content = write_release(
                resolved,
                output,
                backend=backend,
                threads=threads,
                resume=resume,
                overwrite=overwrite,
                compression=compression,
                progress=report,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted; run the same command with --resume added to continue.") from None
    seconds = time.perf_counter() - started
    with open_release(output) as release:
        evaluations = int(release.read("observations/n_scatterers").sum()) * resolved.grid.nx * resolved.grid.ny
    return Answer(
        text=f"{content}  {output}\n"
        f"{resolved.observation_count:,} images in {seconds:.2f} s, {evaluations / seconds:.3g} evaluations/s",
        fields={
            "content_sha256": content,
            "path": str(output),
            "name": resolved.name,
            "observations": resolved.observation_count,
            "evaluations": evaluations,
            "seconds": seconds,
            "backend": backend.name,
        },
    )
