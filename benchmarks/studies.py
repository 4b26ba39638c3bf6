"""The learned entries' numbers for the board: one command trains, evaluates and compares the arms of a study.

    python -m benchmarks.studies two_steps --release paper.h5 -o studies
    python -m benchmarks.studies symmetry --release paper.h5 -o studies --steps 1000

Every arm is trained with every seed by ``qpibench train``, evaluated by ``qpibench predict`` and ``score``, and the
first arm of a study is compared with each of the others by ``qpibench compare``, the seeds of an arm averaged. What a
folder already has is not made again, so an interrupted study goes on, and studies that share arms share their runs:

    studies/runs/ARM-SEED/             run folders
    studies/predictions/ARM-SEED.h5    what they answered
    studies/results/ARM-SEED.json      their scores: `qpibench leaderboard build studies/results -o site`
    studies/comparisons/A-B.json       paired differences
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training one entry; what `qpibench train` and `predict` are told."""

    name: str
    entry: str
    recipe: str
    preset: str = "compact"
    settings: tuple[str, ...] = ()
    pretrained: str | None = None
    map_mode: str = "paper"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question, and the arms that answer it; the others are compared with the first."""

    question: str
    arms: tuple[Arm, ...]


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
                map_mode="exact",
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
    limit: int = 500
    jobs: int = 1

    def run_folder(self, arm: Arm, seed: int) -> Path:
        return self.output / "runs" / f"{arm.name}-{seed}"

    def predictions(self, arm: Arm, seed: int) -> Path:
        return self.output / "predictions" / f"{arm.name}-{seed}.h5"

    def result(self, arm: Arm, seed: int) -> Path:
        return self.output / "results" / f"{arm.name}-{seed}.json"

    def comparison(self, first: Arm, other: Arm) -> Path:
        return self.output / "comparisons" / f"{first.name}-{other.name}.json"


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


def predict_command(arm: Arm, seed: int, settings: Settings) -> list[str]:
    """The command that lets a trained arm answer."""
    command = ["predict", str(settings.run_folder(arm, seed)), "--release", str(settings.release), "--view", "raster"]
    command += ["--map", arm.map_mode, "--limit", str(settings.limit)]
    return [*command, "-o", str(settings.predictions(arm, seed))]


def score_command(arm: Arm, seed: int, settings: Settings) -> list[str]:
    """The command that scores what it answered."""
    return [
        "score",
        str(settings.predictions(arm, seed)),
        "--release",
        str(settings.release),
        "-o",
        str(settings.result(arm, seed)),
    ]


def compare_command(first: Arm, other: Arm, settings: Settings) -> list[str]:
    """The command that compares two arms, all seeds of each."""
    sides = [[str(settings.predictions(arm, seed)) for seed in settings.seeds] for arm in (first, other)]
    against = [part for path in sides[1] for part in ("--against", path)]
    return ["compare", *sides[0], *against, "--release", str(settings.release), "--json"]


def run_arm(arm: Arm, seed: int, settings: Settings) -> None:
    """Train, predict and score, as far as it has not been done."""
    if not _is_complete(settings.run_folder(arm, seed)):
        _qpibench(train_command(arm, seed, settings), settings)
    if not settings.predictions(arm, seed).exists():
        _qpibench(predict_command(arm, seed, settings), settings)
    if not settings.result(arm, seed).exists():
        _qpibench(score_command(arm, seed, settings), settings)


def run(studies: Sequence[Study], settings: Settings) -> None:
    """Run studies, ``settings.jobs`` arms at a time, and print what the comparisons say."""
    for folder in ("runs", "predictions", "results", "comparisons"):
        (settings.output / folder).mkdir(parents=True, exist_ok=True)
    arms = {arm.name: arm for study in studies for arm in study.arms}
    # Seed by seed, so that a study that is cut short has all its arms for the first seeds.
    pairs = [(arm, seed) for seed in settings.seeds for arm in arms.values()]
    with ThreadPoolExecutor(settings.jobs) as pool:
        for done in [pool.submit(run_arm, arm, seed, settings) for arm, seed in pairs]:
            done.result()
    for study in studies:
        print(f"\n{study.question}")
        for first, other, comparison in _compared(study, settings):
            settings.comparison(first, other).write_text(comparison)
            print(f"  {first.name} against {other.name}: {settings.comparison(first, other)}")


def _compared(study: Study, settings: Settings) -> Iterator[tuple[Arm, Arm, str]]:
    first, *others = study.arms
    for other in others:
        yield first, other, _qpibench(compare_command(first, other, settings), settings)


def _is_complete(folder: Path) -> bool:
    record = folder / "run.json"
    return record.exists() and json.loads(record.read_text())["status"] == "complete"


def _qpibench(arguments: Sequence[str], settings: Settings) -> str:
    print("qpibench", *arguments, file=sys.stderr, flush=True)
    threads = str(max(1, (os.cpu_count() or 1) // settings.jobs))
    return subprocess.run(
        [sys.executable, "-m", "qpibench.cli.main", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def main() -> None:
    """Run the studies that are named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies", description="Train, evaluate and compare the learned entries."
    )
    names = "; ".join(f"{name}: {study.question}" for name, study in STUDIES.items())
    parser.add_argument("studies", nargs="+", choices=STUDIES, metavar="STUDY", help=names.replace("%", "%%"))
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="steps of every run; without it, the recipe's own length")
    parser.add_argument("--max-minutes", type=float, help="of every run")
    parser.add_argument("--limit", type=int, default=500, help="test images of each task")
    parser.add_argument("--jobs", type=int, default=1, help="arms that are trained at the same time")
    options = vars(parser.parse_args())
    options["seeds"] = tuple(options["seeds"])
    studies = [STUDIES[name] for name in options.pop("studies")]
    run(studies, Settings(**options))


if __name__ == "__main__":
    main()
