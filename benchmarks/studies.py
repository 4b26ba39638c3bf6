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
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import Commands
from qpibench.errors import QpibenchError, UsageError
from qpibench.evaluation.cells import cell_requests
from qpibench.evaluation.metrics import find_metrics
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.result import Interval
from qpibench.pages.notation import interval, number
from qpibench.release import Release, open_release
from qpibench.tasks.track import find_cells
from qpibench.training import RunFolder, RunRecord, load_run
from qpibench.training.request import parse_options


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training one entry, and the track that asks it: what `qpibench train` and `evaluate` are told."""

    name: str
    entry: str
    recipe: str
    preset: str = "compact"
    settings: tuple[str, ...] = ()
    pretrained: str | None = None
    track: str = "paper"

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells of its track."""
        return find_cells(self.track)[1]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A comparison of arms; every other arm is compared with the first."""

    question: str
    arms: tuple[Arm, ...]


EXACT = Path(__file__).parent / "tracks" / "paper-exact.toml"
HUB_NAME = "madebyollin/sdxl-vae-fp16-fix"

TWO_STEP = Arm(name="two_step-article", entry="two_step", recipe="article")
ONE_STEP = Arm(name="one_step-article", entry="one_step", recipe="article")

STUDIES = {
    "two_steps": Study(
        question="Do two steps beat one, with the same number of steps? (recipe article)", arms=(TWO_STEP, ONE_STEP)
    ),
    "two_steps_code": Study(
        question="Do two steps beat one, with the same number of steps? (recipe code)",
        arms=(
            Arm(name="two_step-code", entry="two_step", recipe="code"),
            Arm(name="one_step-code", entry="one_step", recipe="code"),
        ),
    ),
    "shift_vae": Study(
        question="How far does one get without any kernel to learn from?",
        arms=(Arm(name="shift_vae-published", entry="shift_vae", recipe="published"),),
    ),
    "symmetry": Study(
        question="Does the symmetry loss help?",
        arms=(
            TWO_STEP,
            Arm(
                name="two_step-article-asymmetric",
                entry="two_step",
                recipe="article",
                settings=("symmetry_weight=0.0",),
            ),
        ),
    ),
    "noise": Study(
        question="Does noise on the training images help? (white noise at 0 to 30 dB)",
        arms=(
            TWO_STEP,
            Arm(
                name="two_step-article-noise",
                entry="two_step",
                recipe="article",
                settings=("noise_snr_db=[0.0,30.0]",),
            ),
        ),
    ),
    "map": Study(
        question="Does it matter how the scatterers are rasterised? (published raster, or exact)",
        arms=(
            TWO_STEP,
            Arm(
                name="two_step-article-exact",
                entry="two_step",
                recipe="article",
                settings=('map_mode="exact"',),
                track=str(EXACT),
            ),
        ),
    ),
    "pretraining": Study(
        question="Does a backbone that was trained on photographs help? (needs the weights, and a GPU)",
        arms=(
            Arm(name="two_step-article-sdxl", entry="two_step", recipe="article", preset="sdxl"),
            Arm(
                name="two_step-article-sdxl-pretrained",
                entry="two_step",
                recipe="article",
                preset="sdxl",
                pretrained=HUB_NAME,
            ),
        ),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all arms of a study share."""

    release: Path
    output: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int | None = None
    max_minutes: float | None = None
    limit: int | None = None
    jobs: int = 1

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
    command = ["train", arm.entry, "--release", str(settings.release), "--preset", arm.preset, "--recipe", arm.recipe]
    command += [part for text in arm.settings for part in ("--set", text)]
    command += ["--seed", str(seed), "-o", str(folder)]
    if arm.pretrained is not None:
        command += ["--pretrained", arm.pretrained]
    if settings.steps is not None:
        command += ["--steps", str(settings.steps)]
    if settings.max_minutes is not None:
        command += ["--max-minutes", str(settings.max_minutes)]
    return [*command, "--resume"] if (folder / "run.json").exists() else command


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
    run = _former_run(arm, seed, settings)
    if run is None or run.status != "complete":
        qpibench(train_command(arm, seed, settings))
    if not _is_predicted(arm, seed, settings):
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
            _check_former_run(arm, seed, settings, release)
    for folder in ("runs", "predictions", "results", "comparisons"):
        (settings.output / folder).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(settings.jobs) as pool, Commands(settings.jobs) as qpibench:
        for done in as_completed([pool.submit(run_arm, arm, seed, settings, qpibench) for arm, seed in pairs]):
            done.result()
        for study in studies:
            print("\n".join(summarise(study, settings, qpibench)), flush=True)


def _former_run(arm: Arm, seed: int, settings: Settings) -> RunRecord | None:
    folder = RunFolder(settings.run_folder(arm, seed))
    return load_run(folder.path) if folder.record.exists() else None


def _check_former_run(arm: Arm, seed: int, settings: Settings, release: Release) -> None:
    run = _former_run(arm, seed, settings)
    if run is None:
        return
    found_and_asked = {
        "recipe": (run.recipe, arm.recipe),
        "preset": (run.preset, arm.preset),
        "options": (dict(run.options), parse_options(arm.settings)),
        "seed": (run.seed, seed),
        "release": (run.source.content_sha256, release.content_sha256),
        "steps": (run.steps_budget, min(settings.steps or run.steps_stated, run.steps_stated)),
    }
    for name, (found, asked) in found_and_asked.items():
        if found != asked:
            raise UsageError(
                f"'{settings.run_folder(arm, seed)}' holds a run whose {name} is {found}, but the study asks for"
                f" {asked}; give it another folder by -o, or ask for what this one has."
            )


def _is_predicted(arm: Arm, seed: int, settings: Settings) -> bool:
    """Return whether every cell has predictions of the requested images by the present weights of the run."""
    if not settings.result(arm, seed).exists():
        return False
    weights = [load_run(settings.run_folder(arm, seed)).weights_sha256]
    with open_release(settings.release) as release:
        for asked in cell_requests(arm.track, [release], limit=settings.limit):
            path = settings.predictions(arm, seed, asked.name)
            if not path.exists():
                return False
            with open_predictions(path, release) as predictions:
                record = predictions.record
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
    parser.add_argument("studies", nargs="+", choices=STUDIES, metavar="STUDY", help=names.replace("%", "%%"))
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="steps of every run; without it, the recipe's own length")
    parser.add_argument("--max-minutes", type=float, help="of every run; the same command goes on with those it ends")
    parser.add_argument("--limit", type=int, help="images of each cell; without it, the cell's own number")
    parser.add_argument("--jobs", type=int, default=1, help="arms that are trained at the same time")
    options = vars(parser.parse_args())
    options["seeds"] = tuple(options["seeds"])
    studies = [STUDIES[name] for name in options.pop("studies")]
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(ending, signal.default_int_handler)
    try:
        run(studies, Settings(**options))
    except QpibenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
