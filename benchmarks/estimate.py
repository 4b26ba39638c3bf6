"""Estimates of how long the trainings of the queue on a CPU take, from the logs of their runs."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

from benchmarks.arms import Arm
from benchmarks.studies import Settings
from qpibench.evaluation.entries import find_code
from qpibench.locator import locate
from qpibench.release import open_release
from qpibench.specs import ReleaseSpec
from qpibench.training import RunFolder, TrainingRun
from qpibench.training.request import parse_options

COSTS = {("two_step", "kernels"): 9.0, ("two_step", "alignment"): 1.0, ("one_step", "kernels"): 4.0}
"""Ratios of the times of steps on one core, by entry and stage. They serve for stages that no run has logged yet."""


def stage_lengths(arms: Iterable[Arm], settings: Settings) -> dict[str, dict[str, int]]:
    """Return the steps of every stage of the shipped entries' arms, by arm and stage.

    Another process asks the entries, because PyTorch would stay in the memory of this one for hours.
    """
    shipped = [arm for arm in arms if find_code(arm.entry).path.parent == locate("baselines")]
    with open_release(settings.release) as release:
        spec = release.spec
    if not shipped or not isinstance(spec, ReleaseSpec):
        return {}
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(lengths_by_entry, shipped, spec, settings.steps).result()


def lengths_by_entry(arms: Iterable[Arm], spec: ReleaseSpec, steps: int | None) -> dict[str, dict[str, int]]:
    """Return the steps of every stage by arm and stage; the entries are imported for it."""
    sys.path.insert(0, str(locate("baselines")))
    plan_of = importlib.import_module("learned.loop").plan_of
    lengths = {}
    for arm in arms:
        code = find_code(arm.entry)
        run = TrainingRun(
            entry=code.name,
            entry_path=code.path,
            folder=Path("unused"),
            spec=spec,  # an epoch of a stream is as long as that of a release
            preset="tiny",
            recipe=arm.recipe,
            options=parse_options(arm.settings),
            steps=steps,
        )
        stages = [make() for make in plan_of(importlib.import_module(arm.entry).train, run).stages]
        lengths[arm.name] = {stage.name: stage.budget for stage in stages}
    return lengths


class StepTimes:
    """Seconds of a step by entry, stream or not, and stage, from the logs of the runs of a queue.

    Parameters
    ----------
    pairs
        Arms and seeds.
    settings
        The folder with the runs.
    """

    def __init__(self, pairs: Iterable[tuple[Arm, int]], settings: Settings) -> None:
        found: dict[tuple[str, bool, str], list[float]] = {}
        for arm, seed in pairs:
            for stage, seconds in _step_times(RunFolder(settings.run_folder(arm, seed)).log):
                found.setdefault((arm.entry, arm.stream, stage), []).append(seconds)
        self._seconds = {key: fmean(times) for key, times in found.items()}

    def seconds_left(self, arm: Arm, lengths: Mapping[str, int], done: int) -> float | None:
        """Estimate the seconds of the remaining steps of a run; None if no pace or no length is known."""
        left = 0.0
        for stage, steps in lengths.items():
            seconds = self._of(arm, stage)
            if seconds is None:
                return None
            left += max(0, steps - done) * seconds
            done = max(0, done - steps)
        return left if lengths else None

    def _of(self, arm: Arm, stage: str) -> float | None:
        for key in ((arm.entry, stream, stage) for stream in (arm.stream, not arm.stream)):
            if key in self._seconds:
                return self._seconds[key]
        units = [seconds / COSTS[key[0], key[2]] for key, seconds in self._seconds.items() if key[::2] in COSTS]
        return fmean(units) * COSTS.get((arm.entry, stage), 1.0) if units else None


def _step_times(log: Path) -> Iterator[tuple[str, float]]:
    """Yield the stages of a log and the mean seconds of a step in each, validations and checkpoints included."""
    ends: dict[str, list[tuple[int, float]]] = {}
    with suppress(OSError), open(log, encoding="utf-8") as lines:
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):  # a line may be half written
                entry = json.loads(line)
                place = int(entry["step"]), float(entry["seconds"])
                ends.setdefault(entry["stage"], [place]).append(place)
    for stage, places in ends.items():
        (first, began), (last, ended) = places[0], places[-1]
        if last > first:
            yield stage, (ended - began) / (last - first)
