"""Runs the trials of a campaign, and keeps their figures so that a campaign that was stopped goes on."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.machine import machine, sentence
from qpibench.errors import InvalidDataError, UsageError
from qpibench.files import write_whole
from qpibench.parsing import parse_json

NAMES = (
    "mutated_inputs",
    "kills",
    "full_disks",
    "hostile_models",
    "power_cuts",
    "two_writers",
    "stream_jumps",
)
SAVE_EVERY_S = 20.0
MOST_CHARACTERS = 8000


@dataclass
class Tally:
    """The figures of a campaign.

    Attributes
    ----------
    counts
        How many cases ended in each way.
    largest
        Largest value of each figure that is measured.
    problems
        Cases that ended as none may: the number of the trial, and a description.
    """

    counts: Counter[str] = field(default_factory=Counter)
    largest: dict[str, float] = field(default_factory=dict)
    problems: list[dict[str, Any]] = field(default_factory=list)
    trial: int = 0

    def add(self, outcome: str, **figures: float) -> None:
        """Count a case that ended as it may."""
        self.counts[outcome] += 1
        for name, value in figures.items():
            self.largest[name] = max(value, self.largest.get(name, value))

    def problem(self, outcome: str, what: str) -> None:
        """Count a case that ended as none may, and keep the beginning of what happened."""
        self.counts[f"PROBLEM: {outcome}"] += 1
        self.problems.append({"trial": self.trial, "outcome": outcome, "what": what[:MOST_CHARACTERS]})

    @property
    def cases(self) -> int:
        """Number of all cases."""
        return sum(self.counts.values())


Trial = Callable[[Random, Tally], None]
"""Makes the cases of one trial; what is drawn from the generator decides them all."""

Prepare = Callable[[Path], AbstractContextManager[Trial]]


def load(name: str) -> Any:
    """Return the module of a campaign: ``TRIALS``, its length by default, and ``prepare(folder)``."""
    if name not in NAMES:
        raise UsageError(f"There is no campaign '{name}'; choose one of {', '.join(NAMES)}.")
    return import_module(f"benchmarks.campaigns.{name}")


def trials(name: str, seed: int, numbers: range, folder: Path, tally: Tally) -> Iterator[int]:
    """Run trials of a campaign; after each, yield how many are done.

    Parameters
    ----------
    name, seed
        The campaign and its seed; with the number of a trial they decide what the trial does.
    numbers
        Numbers of the trials.
    folder
        Folder for files, which are left there.
    tally
        The figures, to which the cases are added.
    """
    with load(name).prepare(folder) as trial:
        for number in numbers:
            tally.trial = number
            trial(Random(f"{name} {seed} {number}"), tally)
            yield number + 1


def run(name: str, seed: int, count: int, output: Path, say: Callable[[str], None]) -> Tally:
    """Run a campaign, or go on with it if the file of its figures exists.

    Raises
    ------
    InvalidDataError
        If the file is of another campaign or seed.
    """
    done, seconds, tally = _former(output, name, seed)
    began = saved = time.monotonic()

    def save() -> None:
        content = {
            "campaign": name,
            "seed": seed,
            "trials": done,
            "cases": tally.cases,
            "seconds": round(seconds + time.monotonic() - began, 1),
            "machine": sentence(machine()),
            "counts": dict(sorted(tally.counts.items())),
            "largest": {key: round(value, 3) for key, value in sorted(tally.largest.items())},
            "problems": tally.problems,
        }
        write_whole(output, (json.dumps(content, indent=1) + "\n").encode(), what="Campaign")

    with tempfile.TemporaryDirectory(prefix=f"campaign-{name}-") as folder:
        for done in trials(name, seed, range(done, count), Path(folder), tally):  # noqa: B020
            if time.monotonic() - saved > SAVE_EVERY_S:
                save()
                saved = time.monotonic()
                say(f"{name}: {done} of {count} trials, {tally.cases} cases, {len(tally.problems)} problems")
    save()
    return tally


def _former(output: Path, name: str, seed: int) -> tuple[int, float, Tally]:
    if not output.exists():
        return 0, 0.0, Tally()
    kept = parse_json(output.read_bytes(), f"'{output}'")
    if (kept["campaign"], kept["seed"]) != (name, seed):
        raise InvalidDataError(f"'{output}' is of campaign {kept['campaign']} with seed {kept['seed']}; move it away.")
    tally = Tally(Counter(kept["counts"]), kept["largest"], kept["problems"])
    return kept["trials"], kept["seconds"], tally
