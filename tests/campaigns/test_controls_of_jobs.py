"""Negative controls of the campaigns of commands: one that is sabotaged is found at fault, by the rule meant for it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import pytest

from benchmarks.campaigns import (
    full_disks,
    jobs,
    kills,
    power_cuts,
    processes,
    two_writers,
)
from benchmarks.campaigns.campaign import Tally
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

NEW = ("new", "{folder}/m.py")
NOTHING = ("--version",)


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


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The bytes of a release."""
    path = tmp_path_factory.mktemp("release") / "mini.h5"
    write_release(load_spec("mini"), path, backend=get_backend("cpu")[0], threads=1)
    return path.read_bytes()


@pytest.fixture
def sabotage(made, monkeypatch):
    """A function that lets the first commands of the trial, one by default, begin with a call."""

    def of(call, times=1):
        made.usual(made.job)
        start = made.start
        left = [call] * times
        monkeypatch.setattr(
            made, "start", lambda words, first=None: start(words, first=left.pop() if left else lambda: None)
        )

    return of


TRIALS = {
    "kills": lambda made, tally: kills._trial(made, Draws(), tally),
    "full_disks": lambda made, tally: full_disks._trial(made, Draws(), tally),
    "two_writers": lambda made, tally: two_writers._trial(made, Draws(), tally),
}


@pytest.mark.parametrize(("name", "times"), [("kills", 1), ("full_disks", 1), ("two_writers", 2)])
def test_a_command_that_ends_with_0_without_its_output_is_a_problem(made, sabotage, monkeypatch, name, times):
    monkeypatch.setattr(full_disks, "is_root", lambda: False)
    sabotage(lambda: os._exit(0), times)
    tally = Tally()
    TRIALS[name](made, tally)
    [problem] = tally.problems
    assert "the outputs are nothing" in problem["what"]


def test_a_process_that_is_left_is_a_problem_and_ends(made, sabotage, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE_S", 0)
    read_fd, write_fd = os.pipe()
    sabotage(lambda: subprocess.Popen(["sleep", "60"], pass_fds=[write_fd], start_new_session=True))
    tally = Tally()
    TRIALS["kills"](made, tally)
    [problem] = tally.problems
    assert "name='sleep'" in problem["what"]
    os.close(write_fd)
    assert os.read(read_fd, 1) == b""  # nobody has the other end any more
    os.close(read_fd)


def test_a_temporary_file_that_is_left_is_a_problem_and_is_removed(made, sabotage, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE_S", 0)
    left = Path(tempfile.gettempdir()) / "left"
    sabotage(left.touch)
    tally = Tally()
    TRIALS["two_writers"](made, tally)
    [problem] = tally.problems
    assert str(left) in problem["what"]
    assert not left.exists()


TORN = {
    "release": (jobs._release, "out.h5"),
    "shard": (jobs._shard, "s.h5"),
    "record of a run": (jobs._run, "run/run.json"),
    "weights": (jobs._run, "run/weights.safetensors"),
    "result": (jobs._evaluation, "r.json"),
    "predictions": (jobs._evaluation, "p.h5"),
    "result of a suite": (jobs._cells, "r.json"),
    "predictions of a suite": (jobs._cells, "p-seen.h5"),
    "page": (jobs._site, "site/index.html"),
}


@pytest.mark.parametrize("kind", TORN)
def test_a_file_that_is_torn_is_a_problem(made, release, kind):
    state, name = TORN[kind]
    (made.case / name).parent.mkdir(exist_ok=True)
    if state is jobs._run:
        (made.case / "run" / "run.json").write_bytes(b'{"status": "running"}')
    for place in (made.base / "images.h5", made.base / "other.h5"):
        place.write_bytes(release)
    partly = jobs._some_parts if state in (jobs._cells, jobs._site) else jobs.Job.partly
    job = jobs.Job(name="torn", command=NEW, again=NEW, state=state, partly=partly)
    made._usual[job.name] = jobs.Usual(1.0, "nothing", '{"whole": ""}', 1)
    torn = b'{"cells": ' if name.endswith(".json") else release[: len(release) // 2]
    (made.case / name).write_bytes(torn)
    assert made.seen(job, -9) is not None
    (made.case / name).unlink()
    assert made.seen(job, -9) is None


def test_a_call_that_was_refused_is_told_from_one_that_was_not_reached(made, monkeypatch):
    monkeypatch.setattr(full_disks, "is_root", lambda: False)
    made.job = jobs.Job(name="new", command=NEW, again=NOTHING, state=_file)
    for most, how in (
        (1, "refused, and went on"),
        (10**6, "not reached"),
    ):  # the first call opens a file without a name
        monkeypatch.setattr(full_disks, "MOST_CALLS", most)
        tally = Tally()
        full_disks._trial(made, Draws(), tally)
        assert list(tally.counts) == [f"new, a refused call: {how}"], tally.problems


def test_a_hidden_file_that_a_failure_leaves_is_a_problem(made, sabotage, monkeypatch):
    monkeypatch.setattr(full_disks, "is_root", lambda: False)
    made.job = jobs.Job(name="new", command=NEW, again=(*NOTHING, "--resume"), state=_file)

    def fail():
        (made.case / ".m.py.ab.partial").touch()
        print("Error: It failed.", file=sys.stderr, flush=True)
        os._exit(1)

    sabotage(fail)
    tally = Tally()
    full_disks._trial(made, Draws(), tally)
    assert tally.problems[0]["what"].startswith("left: ['.m.py.ab.partial']")


def test_what_a_command_prints_late_is_read(made, sabotage, monkeypatch):
    monkeypatch.setattr(full_disks, "is_root", lambda: False)
    made.job = jobs.Job(name="new", command=NEW, again=NOTHING, state=_file)
    sabotage(lambda: print("x" * 5000, "Traceback (most recent call last)", file=sys.stderr))
    tally = Tally()
    full_disks._trial(made, Draws(), tally)
    assert [each["outcome"] for each in tally.problems] == ["new, a refused call"]


@pytest.mark.slow
@pytest.mark.skipif(not full_disks.is_root(), reason="only root may mount file systems")
@pytest.mark.parametrize("synced", [True, False])
def test_a_power_cut_finds_an_output_that_was_not_synced(made, sabotage, tmp_path, monkeypatch, synced):
    monkeypatch.setattr(power_cuts, "Jobs", lambda folder: made)
    made.job = jobs.Job(name="new", command=NEW, again=NOTHING, state=_file)
    if not synced:
        sabotage(lambda: setattr(os, "fsync", lambda fd: None))
    tally = Tally()
    with power_cuts.prepare(tmp_path) as trial:
        trial(Draws(), tally)
    assert bool(tally.problems) != synced, tally.counts
    if not synced:
        assert "the outputs are nothing" in tally.problems[0]["what"]
