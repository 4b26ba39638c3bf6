"""``qpibench generate``."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from qpibench.cli.options import (
    Output,
    backend_asked,
    backend_options,
    choose_backend,
    dask_option,
    keep_apart,
    output_option,
    overwrite_option,
    subcommand,
    threads_option,
)
from qpibench.cli.progress import progress
from qpibench.cli.response import Response
from qpibench.errors import UsageError
from qpibench.files import check_file, check_folder

if TYPE_CHECKING:
    from qpibench.cluster.client import Place
    from qpibench.release import Shard
    from qpibench.specs import ReleaseSpec


class _FileOrFolder(Output):
    """Output path of ``generate``: a file or, with ``--shard``, a folder."""

    def check(self, path: Path, ctx: click.Context | None) -> None:
        shard = ctx is not None and ctx.params["shard"]
        check_folder(path, with_parents=False) if shard else check_file(path)


def _shard(context: click.Context, parameter: click.Parameter, text: str | None) -> Shard | None:
    from qpibench.release import Shard

    if text is None:
        return None
    try:
        return Shard.parse(text)
    except UsageError as error:
        raise click.BadParameter(str(error), context, parameter) from None


@subcommand("generate")
@click.argument("spec")
@output_option("FILE", "The release to write; with --shard, the folder.", type=_FileOrFolder(check_file))
@click.option(
    "--shard",
    callback=_shard,
    is_eager=True,  # it decides what the output may be
    metavar="I/N",
    help="Make only the I-th of N parts, as a file in the folder that -o names.",
)
@dask_option("Make the images")
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
    shard: Shard | None,
    place: Place | None,
    overrides: tuple[str, ...],
    backend_name: str | None,
    gpu: bool,
    threads: int | None,
    resume: bool,
    overwrite: bool,
    compression: Literal["gzip"] | None,
) -> Response:
    """Make a release from SPEC: the name of a shipped one, such as paper, mini or cu111_64, or a TOML file.

      qpibench generate mini -o mini.h5
      qpibench generate paper -o paper.h5 --set seed=7 --set scatterers.max=20

    The same spec gives the same bits on every machine, and so the same content hash. An interrupted run leaves the
    target unchanged; --resume completes it. Shards may be made in any order, on several machines or GPUs at the same
    time; merge makes one release from them:

      qpibench generate paper --shard 1/2 -o shards
      qpibench generate paper --shard 2/2 -o shards
      qpibench merge shards -o paper.h5

    On dask workers (docs/scale.md), which must share the folder of -o; --threads is then for each task (default: 1):

      qpibench generate paper --dask local -o paper.h5
      qpibench generate paper --dask slurm:16 -o paper.h5
    """
    from qpibench.arithmetic.compiled import compile_seconds
    from qpibench.release import open_release, write_release, write_shard
    from qpibench.specs import load_spec, spec_names
    from qpibench.tasks.missing import missing_tests

    if shard is not None and compression is not None:
        raise UsageError("Shards are not compressed; leave --compression away.")
    if place is not None and shard is not None:
        raise UsageError("--dask makes all shards, and --shard one of them; give one of the two.")
    if place is not None and compression is not None:
        raise UsageError("--dask writes shards, which are not compressed; leave --compression away.")
    target = output if shard is None else output / shard.file_name
    if spec not in spec_names() and target.exists():  # the folder of a shard need not exist
        keep_apart([target], [Path(spec)])
    resolved = load_spec(spec, overrides=overrides)
    # Workers on other machines have devices of their own, and choose among them.
    elsewhere = place is not None and place.kind != "local"
    backend = None if elsewhere else choose_backend(backend_name, gpu=gpu)
    computes = backend_asked(backend_name, gpu=gpu) if backend is None else backend.name
    options: dict[str, Any] = {"backend": backend, "threads": threads, "resume": resume, "overwrite": overwrite}
    complete = resume and not overwrite and target.exists()
    named: dict[str, Any]
    missing: list[str] = []
    started, compiled_before = time.perf_counter(), compile_seconds()
    try:
        with nullcontext() if place else progress("Generating") as report:
            if place is not None:
                options |= {"backend": computes, "threads": threads or 1}
                digest = _on_workers(resolved, output, place=place, **options)
            elif shard is None:
                digest = write_release(resolved, output, compression=compression, progress=report, **options)
            else:
                file = write_shard(resolved, output, shard, progress=report, **options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted; run the same command with --resume added to continue.") from None
    compiling = compile_seconds() - compiled_before
    seconds = time.perf_counter() - started - compiling
    if shard is None:
        with open_release(output) as release:
            n_scatterers = release.read("observations/n_scatterers")
            missing += missing_tests(release)
        path, named = output, {"content_sha256": digest}
    else:
        n_scatterers = file.read("observations/n_scatterers", *shard.rows(resolved))
        path, digest = Path(file.path), file.sha256
        named = {"shard_sha256": digest, "shard": shard.index, "shards": shard.count}
    evaluations = int(n_scatterers.sum()) * resolved.grid.nx * resolved.grid.ny
    # A resumed run has computed an unknown part of them.
    rate = None if resume else evaluations / seconds
    done = "already complete" if complete else f"in {seconds:.2f} s"
    return Response(
        text=f"{digest}  {path}\n{len(n_scatterers):,} images {done}"
        + ("" if rate is None else f", {rate:.3g} evaluations/s")
        + (f", after {compiling:.1f} s of compiling" if compiling else ""),
        warnings=missing,
        fields={
            **named,
            "path": str(path),
            "name": resolved.name,
            "observations": len(n_scatterers),
            "evaluations": evaluations,
            "seconds": seconds,
            "compile_seconds": compiling,
            "evaluations_per_s": rate,
            "backend": computes,
        },
    )


def _on_workers(spec: ReleaseSpec, output: Path, *, place: Place, backend: str, **options: Any) -> str:
    from qpibench.cluster.generation import generate_release
    from qpibench.synthesis.device import device_count

    devices = device_count() if place.kind == "local" and backend == "cuda" else 0
    return generate_release(spec, output, place=place, backend=backend, devices=devices, show=progress, **options)
