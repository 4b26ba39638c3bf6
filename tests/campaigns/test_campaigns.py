"""The campaigns of reliability: a small share of each, and what they take for a problem."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.campaigns import campaign, full_disks, hostile_models
from benchmarks.campaigns.commands import LIMIT_BYTES, Ran
from benchmarks.campaigns.mutations import MUTATIONS, Edit
from qpibench.errors import InvalidDataError

ROOT = Path(__file__).parents[2]
SHARES = {
    "mutated_inputs": 3,
    "kills": 6,
    "full_disks": 6,
    "hostile_models": 12,
    "power_cuts": 4,
    "two_writers": 4,
    "stream_jumps": 12,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARES)
def test_no_case_of_a_campaign_ends_as_none_may(tmp_path, name):
    if name == "power_cuts" and not full_disks.is_root():
        pytest.skip("only root may mount file systems")
    command = [sys.executable, "-m", "benchmarks.campaigns", name, "--count", str(SHARES[name]), "-o", tmp_path]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    [figures] = tmp_path.glob("*.json")
    assert json.loads(figures.read_text())["problems"] == []
    assert ended.returncode == 0, ended.stderr


def test_the_slow_share_has_every_campaign():
    assert set(SHARES) == set(campaign.NAMES)


@pytest.fixture
def toy(monkeypatch):
    """A campaign that counts, and finds a problem at its second trial; returns what its trials drew."""
    drawn = []

    @contextmanager
    def prepare(folder):
        def trial(random, tally):
            drawn.append(random.random())
            tally.problem("bad", "it happened") if tally.trial == 1 else tally.add("good", seconds=tally.trial)

        yield trial

    monkeypatch.setattr(campaign, "load", lambda name: SimpleNamespace(prepare=prepare))
    return drawn


def test_a_campaign_that_was_stopped_goes_on_with_the_same_trials(toy, tmp_path):
    campaign.run("toy", 3, 5, tmp_path / "whole.json", print)
    whole = list(toy)
    toy.clear()
    for count in (2, 5):
        campaign.run("toy", 3, count, tmp_path / "parts.json", print)
    assert toy == whole
    one, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "parts"))
    for name in ("trials", "cases", "counts", "largest", "problems"):
        assert one[name] == other[name]
    assert one["counts"] == {"PROBLEM: bad": 1, "good": 4}
    assert one["largest"] == {"seconds": 4}
    assert one["problems"] == [{"trial": 1, "outcome": "bad", "what": "it happened"}]
    with pytest.raises(InvalidDataError, match="is of campaign toy with seed 3"):
        campaign.run("toy", 4, 5, tmp_path / "whole.json", print)


@pytest.mark.parametrize(
    ("ran", "complaint"),
    [
        (Ran(0, stdout="fine\n"), None),
        (Ran(3, stderr="Warning: odd.\nError: It is damaged.\n"), None),
        (Ran(None, noise="died with -11"), "died or hung"),
        (Ran(0, memory_bytes=LIMIT_BYTES + 1), "memory"),
        (Ran(1, stderr="Error: The memory of this machine is not enough.\n"), "memory"),
        (Ran(1, stderr="Traceback (most recent call last):\nError: It failed.\n"), "traceback"),
        (Ran(1, stderr="Error: Unexpected KeyError: 'a' (run with --traceback for details).\n"), "unexpected error"),
        (Ran(7, stderr="Error: It failed.\n"), "exit code 7"),
        (Ran(3), "not one sentence"),
        (Ran(3, stderr="Error: One.\nError: Two.\n"), "not one sentence"),
        (Ran(0, stderr="Error: But it went well.\n"), "not one sentence"),
        (Ran(0, stderr="/a/b.py:3: RuntimeWarning: overflow\n"), "warning of a library"),
        (Ran(0, noise="HDF5-DIAG: error\n"), "warning of a library"),
    ],
)
def test_what_a_command_may_not_do(ran, complaint):
    assert ran.complaint == complaint


def _contents(tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "whole.h5"
    with h5py.File(path, "w") as file:
        file["a/b"] = np.arange(12.0).reshape(3, 4)
        file["c"] = np.arange(3)
        file["c"].attrs["units"] = "nm"
    text = b"name = 'a'\nseed = 3\n[grid]\nnx = 4.5\n"
    return {"hdf5": path.read_bytes(), "json": b'{"a": [1, 2.5, {"b": null}], "c": "d"}', "text": text, "bytes": text}


@pytest.mark.parametrize("kind", MUTATIONS)
def test_mutations_change_most_files_and_repeat_themselves(tmp_path_factory, kind):
    content = _contents(tmp_path_factory)[kind]
    draw, change = MUTATIONS[kind]
    changed = []

    @settings(max_examples=25)
    @given(edits=draw)
    def mutate(edits):
        changed.append(change(content, edits) != content)
        if kind != "hdf5":  # HDF5 stores times
            assert change(content, edits) == change(content, edits)

    mutate()
    assert sum(changed) > len(changed) / 3


@pytest.mark.parametrize("second", range(8))
def test_values_that_an_edit_removed_can_be_edited_again(tmp_path_factory, second):
    content = _contents(tmp_path_factory)["hdf5"]
    change = MUTATIONS["hdf5"][1]
    for first in range(8):  # the first value alone, no values, ... of dataset c
        edits = [Edit("reshape", place, 2, None) for place in (first, second)]
        assert change(content, edits) != content


@settings(max_examples=40)
@given(attack=st.sampled_from(sorted(hostile_models.ATTACKS)), moment=st.sampled_from(sorted(hostile_models.MOMENTS)))
def test_hostile_models_are_python(attack, moment):
    compile(hostile_models.source(attack, moment), "my_model.py", "exec")


class Batch:
    kernel_grid = SimpleNamespace(shape=(8, 8))

    def __len__(self):
        return 2


@pytest.mark.parametrize("moment", sorted(hostile_models.MOMENTS))
def test_a_model_that_deletes_its_folder_deletes_no_other_at_its_second_call(monkeypatch, tmp_path, moment):
    folder, deleted = tmp_path / "qpibench-0123456789abcdef", []
    folder.mkdir()
    monkeypatch.setenv("QPIBENCH_MODEL", "mark")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: deleted.append(Path(path)))
    names: dict = {}
    exec(compile(hostile_models.source("delete its folder", moment), "my_model.py", "exec"), names)
    batch = Batch()
    if moment == "fit":
        model = names["Model"]()
        model.fit(None)
        model.fit(None)
    else:
        for _ in range(4):
            np.asarray(names["predict"](batch))
    assert set(deleted) == {folder}


@pytest.mark.parametrize("name", ["folder", "qpibench-main", "qpibench-0123456789abcdef"])
def test_a_hostile_model_runs_in_a_temporary_folder_of_the_program_only(monkeypatch, tmp_path, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(SystemExit, match="not a folder of qpibench"):
        exec(compile(hostile_models.source("fill its folder", "import"), "my_model.py", "exec"), {})
    assert not list((tmp_path / name).iterdir())


def test_there_are_two_hundred_hostile_models():
    sources = {hostile_models.source(*case) for case in hostile_models.CASES}
    assert len(sources) == len(hostile_models.CASES) >= 200


def test_one_call_that_writes_into_a_folder_is_refused(tmp_path, monkeypatch):
    for name in full_disks.CALLS:
        monkeypatch.setattr(os, name, getattr(os, name))
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    refused = [0]
    full_disks.fail_call(2, errno.ENOSPC, inside, refused)
    fd = os.open(inside / "a", os.O_WRONLY | os.O_CREAT)
    os.mkdir(outside / "b")
    assert refused == [0]
    with pytest.raises(OSError, match="No space left"):
        os.write(fd, b"refused")
    assert refused == [1]
    assert os.write(fd, b"written") == 7
    os.close(fd)
    assert (inside / "a").read_bytes() == b"written"
