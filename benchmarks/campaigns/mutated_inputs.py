"""Commands that are given damaged files. Each ends in time, within 1 GiB, with one sentence and a documented code.

It leaves the files that it reads as they are. A release that it completes has the content of one that was never
interrupted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.campaigns.campaign import Tally, Trial
from benchmarks.campaigns.commands import Commands, Ran
from benchmarks.campaigns.input_files import Input, make_inputs
from benchmarks.campaigns.jobs import find_baselines
from benchmarks.campaigns.mutations import MUTATIONS
from benchmarks.campaigns.processes import contents

TRIALS = 1000
INPUTS = 100
"""Damaged files of one trial, all made of the same file."""


@contextmanager
def prepare(folder: Path) -> Iterator[Trial]:
    base = folder / "base"
    base.mkdir()
    find_baselines()
    inputs = make_inputs(base)
    with Commands() as commands:
        yield lambda random, tally: _trial(inputs, folder, commands, random, tally)


def _trial(inputs: dict[str, Input], folder: Path, commands: Commands, random: Random, tally: Tally) -> None:
    name = random.choices(list(inputs), [each.weight for each in inputs.values()])[0]
    chosen = inputs[name]
    mutation = random.choice(chosen.mutations)
    draw, change = MUTATIONS[mutation]
    number = iter(range(10 * INPUTS))

    @seed(random.getrandbits(32))
    @settings(
        max_examples=INPUTS, phases=[Phase.generate], database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(edits=draw, command=st.sampled_from(chosen.commands))
    def one(edits: list[Any], command: str) -> None:
        case = folder / "case"
        place = _place(case, chosen, change(chosen.content, edits))
        before = contents(folder)
        words = {"file": place, "folder": case, "out": case / "out", "base": folder / "base"}
        ran = commands.run([word.format(**words) for word in command.split()])
        complaint = ran.complaint or _wrong_files(chosen, case, before, contents(folder), ran, commands)
        if complaint is None:
            tally.add(f"{name}: exit code {ran.exit_code}", seconds=ran.seconds, memory_mib=ran.memory_bytes / 2**20)
        else:
            tally.problem(f"{name}: {complaint}", _told(next(number), command, mutation, edits, ran))

    one()


def _place(case: Path, chosen: Input, content: bytes) -> Path:
    shutil.rmtree(case, ignore_errors=True)
    for name, part in (chosen.beside | {chosen.name: content}).items():
        path = case / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part)
    return case / chosen.name


def _wrong_files(
    chosen: Input, case: Path, before: dict[Path, str], after: dict[Path, str], ran: Ran, commands: Commands
) -> str | None:
    """What is wrong with the files that a command leaves; None if nothing is."""
    resumed = [case / name for name in chosen.changes]
    kept, found = (
        {path: content for path, content in files.items() if not any(map(path.is_relative_to, resumed))}
        for files in (before, after)
    )
    if any(found.get(path) != content for path, content in kept.items()):
        return "a file that it was not to change"
    if ran.exit_code != 0:
        return "an output of a command that failed" if found.keys() - kept.keys() else None
    whole = all(
        commands.run(["verify", str(case / name)]).stdout.startswith(f"{content} ")
        for name, content in chosen.completes.items()
    )
    left = chosen.completes and any(path in after for path in resumed)
    return None if whole and not left else "completed otherwise"


def _told(number: int, command: str, mutation: str, edits: list[Any], ran: Ran) -> str:
    shown = f"{number}: {command}; {mutation} {edits}"[:600]
    memory = ran.memory_bytes // 2**20
    return (
        f"{shown}; exit code {ran.exit_code}, {ran.seconds:.1f} s, {memory} MiB: {ran.stderr[-1000:]}{_head(ran.noise)}"
    )


def _head(noise: str) -> str:
    """The beginning of what was printed, without the list of modules that faulthandler ends with."""
    return noise.partition("Extension modules:")[0][:1500]
