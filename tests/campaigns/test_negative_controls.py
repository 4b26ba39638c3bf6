"""Negative controls of the campaigns: commands that are sabotaged must be found at fault, by the rule that is meant."""

import os
import tempfile
from random import Random

import pytest

from benchmarks.campaigns import full_disks, jobs, kills, two_writers
from benchmarks.campaigns.campaign import Tally

NEW = ("new", "{folder}/m.py")


class Draws(Random):
    """Draws of a trial that lets a command take its time, and disturbs it once."""

    def random(self):
        return 0.9

    def uniform(self, low, high):
        return 60.0

    def randint(self, low, high):
        return low


def _file(folder):
    path = folder / "m.py"
    return jobs._sha256(path) if path.exists() else "nothing"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Jobs of which one is chosen always: a command that writes one file."""
    monkeypatch.setattr(jobs, "make_base", lambda base, run: None)
    monkeypatch.setattr(jobs, "prepare_processes", lambda folder: None)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    made = jobs.Jobs(tmp_path)
    monkeypatch.setattr(made, "choose", lambda random, without="": made.job)
    made.job = jobs.Job(name="new", command=NEW, again=NEW, state=_file)
    return made


@pytest.fixture
def sabotage(made, monkeypatch):
    """A function that lets the command of the trial, but no other one, begin with a call."""

    def of(call):
        made.usual(made.job)
        start = made.start
        left = [call]
        monkeypatch.setattr(
            made, "start", lambda words, first=None: start(words, first=left.pop() if left else lambda: None)
        )

    return of


TRIALS = {
    "kills": lambda made, tally: kills._trial(made, Draws(), tally),
    "full_disks": lambda made, tally: full_disks._trial(made, Draws(), tally),
    "two_writers": lambda made, tally: two_writers._trial(made, Draws(), tally),
}


@pytest.mark.parametrize("name", ["kills", "full_disks"])
def test_a_command_that_ends_with_0_without_its_output_is_a_problem(made, sabotage, monkeypatch, name):
    monkeypatch.setattr(full_disks, "is_root", lambda: False)
    sabotage(lambda: os._exit(0))
    tally = Tally()
    TRIALS[name](made, tally)
    [problem] = tally.problems
    assert "the outputs are nothing" in problem["what"]


def test_a_call_that_was_refused_is_told_from_one_that_was_not_reached(made, monkeypatch):
    monkeypatch.setattr(full_disks, "is_root", lambda: False)
    made.job = jobs.Job(name="new", command=NEW, again=("tracks",), state=_file)
    for most, how in (
        (1, "refused, and went on"),
        (10**6, "not reached"),
    ):  # the first call opens a file without a name
        monkeypatch.setattr(full_disks, "MOST_CALLS", most)
        tally = Tally()
        full_disks._trial(made, Draws(), tally)
        assert list(tally.counts) == [f"new, a refused call: {how}"], tally.problems
