"""``qpibench train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from qpibench.cli.options import FILE, OUTPUT_FOLDER, output_option, subcommand
from qpibench.cli.response import Response, note, settings
from qpibench.cli.terminal import shortened
from qpibench.errors import UsageError

if TYPE_CHECKING:
    from qpibench.training import RunRecord


@subcommand("train")
@click.argument("entry")
@click.option("--release", "release_path", type=FILE, metavar="RELEASE", help="Train on this release's training role.")
@click.option("--stream", metavar="SPEC", help="Train on fresh images of a spec, without end.")
@click.option("--preset", metavar="NAME", help="Architecture.  [default: the entry's]")
@click.option("--recipe", metavar="NAME", help="Losses, schedules and all their numbers.  [default: the entry's]")
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="Change one of them; may be repeated.")
@click.option(
    "--pretrained", metavar="NAME", help="Start from these weights: a name on the Hugging Face Hub, or a path."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights, order and draws.")
@click.option("--steps", type=int, metavar="N", help="Steps, all stages together.  [default: those of the recipe]")
@click.option("--max-minutes", type=float, metavar="M", help="Stop after so long, to be resumed.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "no", "bf16", "tf32"]),
    default="auto",
    show_default=True,
    help="Mixed precision; no means float32, tf32 needs a GPU.",
)
@click.option("--compile", "compiled", is_flag=True, help="Compile the losses with torch.compile, on a CPU.")
@click.option("--processes", type=int, default=1, show_default=True, metavar="N", help="One for each GPU.")
@click.option("--launched", is_flag=True, help="Train in this process, one of those of accelerate launch.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run; without one, start afresh.")
@output_option("RUN_DIR", "The run folder; made if missing.", type=OUTPUT_FOLDER)
def command(
    *,
    entry: str,
    release_path: Path | None,
    stream: str | None,
    preset: str | None,
    recipe: str | None,
    options: tuple[str, ...],
    pretrained: str | None,
    seed: int,
    steps: int | None,
    max_minutes: float | None,
    precision: Literal["auto", "no", "bf16", "tf32"],
    compiled: bool,
    processes: int,
    launched: bool,
    resume: bool,
    output: Path,
) -> Response:
    """Train ENTRY, a file with a function train or the name of an entry such as two_step.

      qpibench train two_step --release paper.h5 --preset compact --recipe article -o runs/two_step
      qpibench train two_step --stream paper --max-minutes 60 -o runs/fresh
      qpibench train two_step --stream paper --max-minutes 60 -o runs/fresh --resume

    RUN_DIR holds the weights, the record of their training, a log, curves and a checkpoint. It is a model:

      qpibench evaluate runs/two_step --release paper.h5 --track paper -o result.json

    Accelerate starts processes on several GPUs and machines, as its configuration file says:

      accelerate launch --config_file gpus.yaml -m qpibench train two_step --launched --release paper.h5 -o runs/1

    Ctrl-C, SIGTERM and SIGHUP stop training with a checkpoint, within 20 s and with exit code 130; --resume continues
    it. A complete run cannot be extended; for more steps, train in another folder.
    """
    from qpibench.evaluation.entries import find_code
    from qpibench.release import open_release
    from qpibench.specs import load_spec
    from qpibench.training import TrainingRun
    from qpibench.training.launched import is_main_process, train_launched
    from qpibench.training.request import parse_options
    from qpibench.training.start import STOP_S, train
    from qpibench.training.variables import ignored_variables, without_launchers

    if (release_path is None) == (stream is None):
        raise UsageError("Training needs one source of images; give either --release RELEASE or --stream SPEC.")
    if launched and processes != 1:
        raise UsageError("With --launched the launcher says how many processes there are; leave --processes away.")
    code = find_code(entry)
    if release_path is not None:
        with open_release(release_path) as release:  # before torch is imported, which takes seconds
            release.check("image", release.told_field)
    run = TrainingRun(
        entry=code.name,
        entry_path=code.path,
        folder=output,
        release_path=release_path,
        spec=None if stream is None else load_spec(stream),
        preset=preset,
        recipe=recipe,
        options=parse_options(options),
        pretrained=pretrained,
        seed=seed,
        resume=resume,
        max_seconds=None if max_minutes is None else 60 * max_minutes,
        steps=steps,
        precision=precision,
        compile=compiled,
    )
    if launched:
        outcome = train_launched(run)
        if outcome.error is None and not is_main_process():
            click.get_current_context().exit()
    else:
        if ignored := ignored_variables(without_launchers(os.environ)):
            note(f"Environment variables that training does not use: {', '.join(ignored)}.")
        outcome = train(run, processes=processes, quiet=settings().quiet)
    if outcome.interrupted and outcome.error is None:
        done = "" if outcome.record is None else f" after {_progress(outcome.record)}"
        if outcome.killed:
            done += f" (the last checkpoint; training did not stop within {STOP_S:g} s and was killed)"
        raise KeyboardInterrupt(f"Interrupted{done}; run the same command with --resume added to continue.")
    record = outcome.record
    return Response(
        text="" if record is None or outcome.error else _text(output, record),
        fields={"path": str(output)}
        if record is None
        else {
            "path": str(output),
            "fraction": record.fraction,
            **record.model_dump(mode="json", exclude={"schema_version"}),
        },
        error=outcome.error,
        traceback=outcome.traceback,
        exit_code=outcome.exit_code,
    )


def _progress(record: RunRecord) -> str:
    return f"{record.steps_done:,} of {record.steps_budget:,} steps"


def _text(output: Path, record: RunRecord) -> str:
    best = record.best
    hours = f"{record.seconds / 3600:.2f} h"
    if record.ended_by_steps:
        how = f"{record.steps_done:,} of {record.steps_stated:,} stated steps in {hours}, ended by --steps"
        how += f" {record.steps_budget}"
    else:
        how = f"{_progress(record)}{' (early stop)' if record.stopped_early else ''} in {hours}, {record.status}"
    lines = [f"{output}: {shortened(record.entry)}, {how}"]
    if best is not None:
        lines.append(f"best validation error {best.score:.4g} at step {best.step:,} of {best.stage}")
    if record.status == "stopped":
        lines.append("Run the same command with --resume added to continue.")
    return "\n".join(lines)
