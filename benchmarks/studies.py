"""The learned entries' numbers for the board: one command trains, evaluates and compares the arms of a study.

    python -m benchmarks.studies two_steps --release paper.h5 -o studies
    python -m benchmarks.studies symmetry --release paper.h5 -o studies --steps 1000

Every arm is trained with every seed by ``qpibench train``, evaluated on every cell of its track by ``qpibench
evaluate``, and the first arm of a study is compared with each of the others, cell by cell, by ``qpibench compare``, the
seeds of an arm averaged. Files that the folder already has are not made again. The same command therefore continues a
study that was interrupted or failed, and studies that share arms share their runs:

    studies/runs/ARM-SEED/                  run folders
    studies/predictions/ARM-SEED-CELL.h5    their predictions
    studies/results/ARM-SEED.json           their scores: `qpibench leaderboard build studies/results -o site`
    studies/comparisons/A-B-CELL.json       paired differences

All runs of a folder are of the same length: a study that asks for another one needs a folder of its own. Arms
predict again if a run has continued since, or for another ``--limit``.

With ``--queue`` the arms of the published methods are trained in their order (:mod:`benchmarks.cpu_queue`), all or
those of the named studies, on the CPU, one after the other and at the lowest priority:

    nohup python -m benchmarks.studies --queue --release paper.h5 -o studies >> queue.log 2>&1 &
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arms import STUDIES, Arm, Study
from benchmarks.commands import Commands
from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.evaluation.cells import cell_requests
from qpibench.evaluation.entries import find_code
from qpibench.evaluation.metrics import find_metrics
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.result import Interval
from qpibench.files import make_folder
from qpibench.pages.notation import interval, number
from qpibench.release import Release, open_release
from qpibench.specs import load_spec, spec_names
from qpibench.training import RunFolder, RunRecord, load_run
from qpibench.training.request import PRECISIONS, parse_options


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all arms of a study share."""

    release: Path
    output: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int | None = None
    max_minutes: float | None = None
    limit: int | None = None
    precision: str = "auto"
    jobs: int = 1
    threads: int | None = None

    def run_folder(self, arm: Arm, seed: int) -> Path:
        return self.output / "runs" / f"{arm.name}-{seed}"

    def predictions(self, arm: Arm, seed: int, cell: str) -> Path:
        ending = f"-{cell}" if len(arm.cells) > 1 else ""  # as evaluate names them
        return self.output / "predictions" / f"{arm.name}-{seed}{ending}.h5"

    def result(self, arm: Arm, seed: int) -> Path:
        return self.output / "results" / f"{arm.name}-{seed}.json"

    def comparison(self, first: Arm, other: Arm, cell: str) -> Path:
        return self.output / "comparisons" / f"{first.name}-{other.name}-{cell}.json"


def train_command(arm: Arm, seed: int, settings: Settings) -> list[str]:
    """The command that trains an arm, or goes on with it where it stopped."""
    folder = settings.run_folder(arm, seed)
    source = ["--stream", stream_name(settings.release)] if arm.stream else ["--release", str(settings.release)]
    command = ["train", arm.entry, *source, "--preset", arm.preset, "--recipe", arm.recipe]
    command += [part for text in arm.settings for part in ("--set", text)]
    command += ["--seed", str(seed), "--precision", settings.precision, "-o", str(folder)]
    if arm.pretrained is not None:
        command += ["--pretrained", arm.pretrained]
    if settings.steps is not None:
        command += ["--steps", str(settings.steps)]
    if settings.max_minutes is not None:
        command += ["--max-minutes", str(settings.max_minutes)]
    return [*command, "--resume"] if (folder / "run.json").exists() else command


def stream_name(path: Path) -> str:
    """Return the name of the spec of a release, for training on fresh draws of it.

    Raises
    ------
    UsageError
        If no shipped spec makes this release.
    """
    with open_release(path) as release:
        if release.name not in spec_names() or load_spec(release.name).sha256 != release.spec.sha256:
            raise UsageError(
                f"'{path}' is no release of a shipped spec ({', '.join(spec_names())}), so no fresh images can be drawn"
                " for it; leave out the arms that are trained on a stream."
            )
        return release.name


def evaluate_command(arm: Arm, seed: int, settings: Settings) -> list[str]:
    """Return the command that evaluates a trained arm on every cell of its track."""
    command = ["evaluate", str(settings.run_folder(arm, seed)), "--release", str(settings.release)]
    command += ["--track", arm.track, "-o", str(settings.result(arm, seed))]
    command += ["--predictions", str(settings.output / "predictions" / f"{arm.name}-{seed}.h5")]
    return command if settings.limit is None else [*command, "--limit", str(settings.limit)]


def compare_command(first: Arm, other: Arm, cell: str, settings: Settings) -> list[str]:
    """The command that compares two arms on a cell, all seeds of each."""
    sides = [[str(settings.predictions(arm, seed, cell)) for seed in settings.seeds] for arm in (first, other)]
    against = [part for path in sides[1] for part in ("--against", path)]
    return ["compare", *sides[0], *against, "--release", str(settings.release), "--json"]


def run_arm(arm: Arm, seed: int, settings: Settings, qpibench: Commands) -> None:
    """Train and evaluate, as far as it has not been done."""
    run = former_run(arm, seed, settings)
    if run is None or run.status != "complete":
        qpibench(train_command(arm, seed, settings))
    if not is_predicted(arm, seed, settings):
        qpibench(evaluate_command(arm, seed, settings))


def run(studies: Sequence[Study], settings: Settings) -> None:
    """Run studies, ``settings.jobs`` arms at a time, and print what the comparisons say.

    Raises
    ------
    UsageError
        If the folder holds runs of other arms, of another length, or on another release.
    InvalidDataError
        If the release, or what the folder holds, is corrupt.
    QpibenchError
        If a command fails. Those that run beside it are told to end.
    """
    arms = {arm.name: arm for study in studies for arm in study.arms}
    # Seed by seed, so that a study that is cut short has all its arms for the first seeds.
    pairs = [(arm, seed) for seed in settings.seeds for arm in arms.values()]
    with open_release(settings.release) as release:
        for arm, seed in pairs:
            check_former_run(arm, seed, settings, release)
    make_folders(settings)
    with ThreadPoolExecutor(settings.jobs) as pool, Commands(settings.jobs, threads=settings.threads) as qpibench:
        for done in as_completed([pool.submit(run_arm, arm, seed, settings, qpibench) for arm, seed in pairs]):
            done.result()
        for study in studies:
            print("\n".join(summarise(study, settings, qpibench)), flush=True)


def make_folders(settings: Settings) -> None:
    """Make the folders of the outputs."""
    for folder in ("runs", "predictions", "results", "comparisons"):
        make_folder(settings.output / folder)


def former_run(arm: Arm, seed: int, settings: Settings) -> RunRecord | None:
    """Return the record of an arm's run, or None if it was not begun."""
    folder = RunFolder(settings.run_folder(arm, seed))
    return load_run(folder.path) if folder.record.exists() else None


def check_former_run(arm: Arm, seed: int, settings: Settings, release: Release) -> None:
    """Refuse a run folder that holds another run than an arm's.

    Raises
    ------
    UsageError
        If it holds a run with another recipe, source or length.
    InvalidDataError
        If its run.json is corrupt.
    """
    run = former_run(arm, seed, settings)
    if run is None:
        return
    identity = None if arm.stream else release.content_sha256
    found_and_asked = {
        "entry": (run.entry, find_code(arm.entry).name),
        "recipe": (run.recipe, arm.recipe),
        "preset": (run.preset, arm.preset),
        "options": (dict(run.options), parse_options(arm.settings)),
        "seed": (run.seed, seed),
        "source": (run.source.kind, "stream" if arm.stream else "release"),
        "spec": (run.source.spec_sha256, release.spec.sha256),
        "release": (run.source.content_sha256, identity),
        "steps": (run.steps_budget, min(settings.steps or run.steps_stated, run.steps_stated)),
    }
    if settings.precision != "auto":
        found_and_asked["precision"] = (run.config.get("precision", settings.precision), settings.precision)
    for name, (found, asked) in found_and_asked.items():
        if found != asked:
            raise UsageError(
                f"'{settings.run_folder(arm, seed)}' holds a run whose {name} is {found}, but the study asks for"
                f" {asked}; give it another folder by -o, or ask for what this one has."
            )


def is_predicted(arm: Arm, seed: int, settings: Settings) -> bool:
    """Return whether every cell has predictions of the requested images by the present weights of the run."""
    if not settings.result(arm, seed).exists():
        return False
    weights = [load_run(settings.run_folder(arm, seed)).weights_sha256]
    with open_release(settings.release) as release:
        for asked in cell_requests(arm.track, [release], limit=settings.limit):
            path = settings.predictions(arm, seed, asked.name)
            if not path.exists():
                return False
            try:
                with open_predictions(path, release) as predictions:
                    record = predictions.record
            except InvalidDataError:  # a corrupt file is made again
                return False
            if record is None or list(record.model.weights.values()) != weights:
                return False
            if (record.cell, record.limit) != (asked.request.cell, asked.request.limit):
                return False
    return True


def summarise(study: Study, settings: Settings, qpibench: Commands) -> Iterator[str]:
    """Compare the arms of a study, and tell line by line what the comparisons say."""
    yield f"\n{study.question}"
    first, *others = study.arms
    for arm in study.arms:
        for seed in settings.seeds:
            run = load_run(settings.run_folder(arm, seed))
            if run.status != "complete":
                yield f"  {arm.name}-{seed} is not complete: {run.steps_done:,} of {run.steps_budget:,} steps."
    if not others:
        yield f"  There is nothing to compare; the scores are in {settings.result(first, settings.seeds[0]).parent}."
    for other in others:
        common = [cell for cell in first.cells if cell in other.cells]
        compared = {cell: qpibench(compare_command(first, other, cell, settings)) for cell in common}
        for cell, text in compared.items():
            settings.comparison(first, other, cell).write_text(text, encoding="utf-8")
        yield from comparison_lines(first.name, other.name, {cell: json.loads(text) for cell, text in compared.items()})
        yield f"  In full: {settings.output / 'comparisons'}"


TOLD = ("rel_l2_capped", "mae_published")
"""The metrics of a comparison that are told in words; the first ranks."""


def comparison_lines(first: str, other: str, comparisons: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Tell in words how two arms compare.

    Parameters
    ----------
    first, other
        What to call both sides.
    comparisons
        By cell, what ``qpibench compare --json`` prints.
    """
    some = next(iter(comparisons.values()))
    seeds, level = len(some["a"]), some["intervals"]["level"]
    yield f"  {first} against {other}, {seeds} seed{'s' * (seeds > 1)} each, {100 * level:g} % intervals:"
    for cell, comparison in comparisons.items():
        (compared,) = comparison["tasks"].values()
        for metric in find_metrics(TOLD):
            yield f"    {cell}, {metric.label}: {_difference(first, other, compared['metrics'][metric.name])}"
    if seeds == 1:
        yield "    With one seed each this holds for these two trained models; other seeds may say otherwise."


def _difference(first: str, other: str, compared: dict[str, Any]) -> str:
    a, b = (number(sum(compared[side]) / len(compared[side])) for side in ("a", "b"))
    value, bounds = interval(Interval.model_validate(compared["difference"]))
    lower = {"A": f"the error of {first} is lower", "B": f"the error of {other} is lower"}
    verdict = lower.get(compared["lower"], "it is open which error is lower")
    return f"{a} and {b}, difference {value} {bounds}; {verdict}."


def main() -> None:
    """Run the studies that are named on the command line, and end the process with the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies", description="Train, evaluate and compare the learned entries."
    )
    names = "; ".join(f"{name}: {study.question}" for name, study in STUDIES.items())
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=names.replace("%", "%%"))
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, default=Path("studies"), help="the folder (studies)")
    parser.add_argument(
        "--queue", action="store_true", help="train on the CPU, at the lowest priority, in the queue's order"
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds of the runs: 0 1 2; with --queue 0")
    parser.add_argument("--steps", type=int, help="steps of every run; without it, the recipe's own length")
    parser.add_argument("--max-minutes", type=float, help="of every run; the same command goes on with those it ends")
    parser.add_argument("--limit", type=int, help="images of each cell; without it, the cell's own number")
    parser.add_argument("--precision", choices=PRECISIONS, help="auto; with --queue no, which is float32")
    parser.add_argument("--jobs", type=int, default=1, help="arms that are trained at the same time; not with --queue")
    parser.add_argument("--threads", type=int, help="of every run; with --queue 1, else the processors by the jobs")
    options = vars(parser.parse_args())
    queued, names = options.pop("queue"), options.pop("studies")
    if unknown := [name for name in names if name not in STUDIES]:
        parser.error(f"there is no study '{unknown[0]}'; choose from {', '.join(STUDIES)}")
    if not (names or queued):
        parser.error(f"name a study: {', '.join(STUDIES)}; or train all arms of the queue by --queue")
    if queued and options["jobs"] != 1:
        parser.error("the queue trains one arm after the other; leave out --jobs")
    options["seeds"] = tuple(options["seeds"] or ((0,) if queued else (0, 1, 2)))
    options["precision"] = options["precision"] or ("no" if queued else "auto")
    options["threads"] = options["threads"] or (1 if queued else None)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(ending, signal.default_int_handler)
    studies, settings = [STUDIES[name] for name in names], Settings(**options)
    try:
        if queued:
            from benchmarks.cpu_queue import run_queue

            os.nice(19)
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
            sys.exit(0 if run_queue(studies, settings) else 1)
        run(studies, settings)
    except QpibenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
