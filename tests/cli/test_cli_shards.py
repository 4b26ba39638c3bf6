"""Releases in shards through the command line: made in any order, interrupted, merged, and refused with a sentence."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import psutil
import pytest

PATIENCE_S = 60
PROGRAM = [sys.executable, "-m", "qpibench.cli.main"]
# Five blocks of images; `mini` itself is one block, and leaves shards empty.
FIVE = ["mini", "--set", "observations_per_kernel=128"]
# The same, each block taking a good while on one thread.
SLOW = [*FIVE, "--set", "scatterers.min=299", "--set", "scatterers.max=300"]


@pytest.fixture(scope="module")
def five(tmp_path_factory, qpibench):
    """A release of five blocks, not to be changed."""
    path = tmp_path_factory.mktemp("five") / "five.h5"
    assert qpibench("generate", *FIVE, "-o", path).exit_code == 0
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory, qpibench):
    """Its two shards, not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "shards"
    for shard in ("2/2", "1/2"):
        assert qpibench("generate", *FIVE, "--shard", shard, "-o", folder).exit_code == 0
    return folder


@pytest.fixture
def shards(made, tmp_path):
    """Its two shards in a folder that may be damaged."""
    return shutil.copytree(made, tmp_path / "shards")


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("options", [[], ["--virtual"]], ids=["file", "virtual"])
def test_merged_shards_have_the_hash_of_the_release(qpibench, five, tmp_path, count, options):
    digests = set()
    for index in reversed(range(1, count + 1)):
        shard = qpibench("generate", *FIVE, "--shard", f"{index}/{count}", "-o", tmp_path / "shards", "--json").json
        assert (shard["shard"], shard["shards"]) == (index, count)
        assert shard["path"] == str(tmp_path / "shards" / f"shard-{index}-of-{count}.h5")
        digests.add(shard["shard_sha256"])
    assert len(digests) == count
    merged = qpibench("merge", tmp_path / "shards", "-o", tmp_path / "merged.h5", *options, "--json").json
    assert merged["content_sha256"] == qpibench("info", five, "--json").json["content_sha256"]
    assert (merged["observations"], merged["virtual"]) == (1280, bool(options))
    verified = qpibench("verify", tmp_path / "merged.h5", "--regenerate", "--json").json
    assert verified["content_sha256"] == merged["content_sha256"]


def test_more_shards_than_blocks_are_allowed_and_some_are_empty(qpibench, mini, tmp_path):
    sizes = []
    for index in (1, 2, 3):
        made = qpibench("generate", "mini", "--shard", f"{index}/3", "-o", tmp_path / "shards", "--json").json
        sizes.append(made["observations"])
    assert sizes == [0, 0, 100]
    assert qpibench("merge", tmp_path / "shards", "-o", tmp_path / "merged.h5").exit_code == 0
    assert (tmp_path / "merged.h5").read_bytes() == mini.read_bytes()


@pytest.mark.slow
def test_a_virtual_release_serves_every_command_and_may_be_moved(qpibench, five, shards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = qpibench("merge", "shards", "-o", "virtual.h5", "--virtual")
    assert "'shards', which must be kept" in said.stdout
    (tmp_path / "elsewhere").mkdir()
    shutil.move("shards", "elsewhere/shards")
    shutil.move("virtual.h5", "elsewhere/virtual.h5")
    virtual = tmp_path / "elsewhere" / "virtual.h5"
    assert qpibench("verify", virtual).exit_code == 0
    assert qpibench("export-csv", virtual, "--kernel", 7, "-o", "a.csv").exit_code == 0
    assert qpibench("export-csv", five, "--kernel", 7, "-o", "b.csv").exit_code == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    evaluated = [
        qpibench(
            "evaluate", "tikhonov", "--release", path, "--map", "exact", "--limit", 3, "-o", "result.json", "--json"
        ).json
        for path in (virtual, five)
    ]
    first, second = ({name: cell["metrics"] for name, cell in each["cells"].items()} for each in evaluated)
    assert first == second


def test_info_counts_the_shards_of_a_virtual_release(qpibench, five, shards, tmp_path):
    virtual = tmp_path / "virtual.h5"
    assert qpibench("merge", shards, "-o", virtual, "--virtual").exit_code == 0
    size = sum(path.stat().st_size for path in (virtual, *shards.iterdir()))
    told = qpibench("info", virtual, "--json").json
    assert (told["bytes"], told["shards"]) == (size, 2)
    assert f"{size / 1e6:,.1f} MB in this file and 2 shards, format" in qpibench("info", virtual).stdout
    whole = qpibench("info", five, "--json").json
    assert (whole["bytes"], whole["shards"]) == (five.stat().st_size, 0)


@pytest.mark.parametrize("ending", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_shard_that_is_ended_in_the_middle_is_resumed(qpibench, tmp_path, ending):
    folder = tmp_path / "shards"
    whole = qpibench("generate", *SLOW, "--shard", "1/1", "-o", tmp_path / "whole", "--json").json
    arguments = ["generate", *SLOW, "--shard", "1/1", "-o", folder]
    process = psutil.Popen(
        [*PROGRAM, *map(str, arguments), "--threads", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    journal, deadline = folder / ".shard-1-of-1.h5.journal", time.monotonic() + PATIENCE_S
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        psutil.wait_procs([process], timeout=0.005)
    process.send_signal(ending)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    if ending == signal.SIGTERM:
        assert stderr.rstrip().endswith("Error: Interrupted; run the same command with --resume added to continue.")
    qpibench("merge", folder, "-o", tmp_path / "merged.h5").fails(3, "no shard in folder")
    assert qpibench(*arguments, "--resume", "--json").json["shard_sha256"] == whole["shard_sha256"]
    assert os.listdir(folder) == ["shard-1-of-1.h5"]


@pytest.mark.slow
def test_shards_are_made_at_the_same_time_by_processes_that_do_not_know_of_each_other(qpibench, five, tmp_path):
    processes = [
        subprocess.Popen(
            [*PROGRAM, "generate", *FIVE, "--shard", f"{index}/3", "-o", tmp_path / "shards", "--quiet"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in (1, 2, 3)
    ]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 3
    assert qpibench("merge", tmp_path / "shards", "-o", tmp_path / "merged.h5").exit_code == 0
    assert (tmp_path / "merged.h5").read_bytes() == five.read_bytes()


def test_a_finished_shard_is_kept_resumed_or_replaced_as_asked(qpibench, shards, unchanged):
    again = ["generate", *FIVE, "--shard", "1/2", "-o", shards]
    with unchanged():
        qpibench(*again).fails(2, "shard-1-of-2.h5", "exists already", "resume")
        qpibench(*again, "--set", "seed=1", "--resume").fails(3, "shard-1-of-2.h5", "another spec")
        assert qpibench(*again, "--resume").exit_code == 0
        assert qpibench(*again, "--overwrite").exit_code == 0


@pytest.mark.parametrize("shard", ["1", "0/2", "3/2", "-1/2", "1/0", "a/b", "1.0/2", "1/2/3", "", "1 / 2"])
def test_a_shard_that_does_not_exist(qpibench, tmp_path, unchanged, shard):
    with unchanged():
        outcome = qpibench("generate", "mini", f"--shard={shard}", "-o", tmp_path / "shards", "--json")
    outcome.fails(2, "--shard", f"{shard}", "I/N with I from 1 to N")
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("generate mini --shard 1/2 -o {file}", ["is not a folder", "name the folder"]),
        ("generate mini --shard 1/2 -o {tmp}/a/b", ["Folder", "does not exist"]),
        ("generate mini --shard 1/2 -o {tmp}/new --compression gzip", ["not compressed", "--compression"]),
        ("generate mini --shard 1/2 --set seed=-1 -o {tmp}/new", ["seed"]),
        ("generate mini -o {shards}", ["is a folder"]),
        ("merge {shards}", ["Missing option", "-o"]),
        ("merge -o {out}", ["Missing argument 'DIR...'"]),
        ("merge {tmp}/missing -o {out}", ["There is no folder", "missing"]),
        ("merge {file} -o {out}", ["There is no folder"]),
        ("merge {shards} -o {file}", ["exists already"]),
        ("merge {shards} -o {shards}", ["is a folder"]),
        ("merge {shards} -o {tmp}/missing/a.h5", ["does not exist"]),
        ("merge {shards} -o {shards}/shard-1-of-2.h5 --overwrite", ["is one of the shards"]),
        ("merge {shards} -o {out} --threads 0", ["--threads"]),
    ],
)
def test_a_request_that_cannot_be_granted(qpibench, shards, tmp_path, unchanged, arguments, words):
    file = tmp_path / "file"
    file.write_text("precious")
    places = {"tmp": tmp_path, "shards": shards, "file": file, "out": tmp_path / "out.h5"}
    with unchanged():
        qpibench(*(part.format(**places) for part in arguments.split()), "--json").fails(2, *words)
    assert not (tmp_path / "new").exists()


def _missing(shard):
    shard.unlink()


def _truncated(shard):
    os.truncate(shard, shard.stat().st_size // 2)


def _emptied(shard):
    shard.write_bytes(b"")


def _text(shard):
    shard.write_text("1,2\n")


def _changed(shard):
    with h5py.File(shard, "r+") as file:
        file["observations/image"][17, 3, 5] += np.float32(1e-3)


def _twice(shard):
    shutil.copy(shard, shard.with_name("backup.h5"))


def _foreign(shard):
    with h5py.File(shard, "w") as file:
        file["measurement"] = np.zeros(3)


BAD = [
    (_missing, ["Shard 2/2 is missing", "shard-2-of-2.h5", "generate with --shard 2/2"]),
    (_truncated, ["shard-2-of-2.h5' is truncated", "generated again"]),
    (_emptied, ["shard-2-of-2.h5' is not an HDF5 file", "generated again"]),
    (_text, ["shard-2-of-2.h5' is not an HDF5 file", "generated again"]),
    (_changed, ["shard-2-of-2.h5' is damaged", "observations/image", "generate it again with --shard 2/2"]),
    (_twice, ["backup.h5", "shard-2-of-2.h5", "both shard 2/2", "move one of them away"]),
    (_foreign, ["shard-2-of-2.h5' is not a shard", "move it away"]),
]


def _name(value):
    return value.__name__.strip("_") if callable(value) else ""


@pytest.mark.parametrize("options", [[], ["--virtual"]], ids=["file", "virtual"])
@pytest.mark.parametrize(("damage", "words"), BAD, ids=_name)
def test_a_bad_shard(qpibench, shards, tmp_path, unchanged, damage, words, options):
    damage(shards / "shard-2-of-2.h5")
    out = tmp_path / "merged.h5"
    with unchanged():
        qpibench("merge", shards, "-o", out, *options, "--json").fails(3, *words)
    out.write_text("precious")
    with unchanged():
        qpibench("merge", shards, "-o", out, "--overwrite", *options).fails(3, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shard", "1/3"], ["shard-1-of-3.h5", "shard 1/3", "the others are shards of 2"]),
        (["--shard", "1/2", "--set", "seed=1", "--overwrite"], ["is a shard of another spec", "move it away"]),
    ],
    ids=["number", "spec"],
)
def test_a_shard_of_something_else(qpibench, shards, tmp_path, unchanged, arguments, words):
    assert qpibench("generate", *FIVE, *arguments, "-o", shards).exit_code == 0
    with unchanged():
        qpibench("merge", shards, "-o", tmp_path / "merged.h5", "--json").fails(3, *words)


def test_a_shard_is_no_release(qpibench, shards, tmp_path, unchanged):
    shard = shards / "shard-1-of-2.h5"
    with unchanged():
        for command in ("info", "verify"):
            qpibench(command, shard, "--json").fails(3, "one shard of a release (1 of 2)", "qpibench merge")
        qpibench("evaluate", "zeros", "--release", shard, "-o", tmp_path / "r.json").fails(3, "one shard of a release")


@pytest.mark.parametrize(("damage", "words"), [(BAD[0][0], ["is missing", "put it back"]), *BAD[1:5]], ids=_name)
def test_a_virtual_release_with_a_bad_shard(qpibench, shards, tmp_path, unchanged, damage, words):
    virtual = tmp_path / "virtual.h5"
    assert qpibench("merge", shards, "-o", virtual, "--virtual").exit_code == 0
    damage(shards / "shard-2-of-2.h5")
    with unchanged():
        qpibench("verify", virtual, "--json").fails(3, "shard-2-of-2.h5")
        if damage is not _changed:
            qpibench("info", virtual).fails(3, "virtual.h5", "shard-2-of-2.h5", "put it back, or generate it again")


@pytest.mark.parametrize("command", ["generate mini --shard 1/1 -o {out}", "merge {shards} -o {out}/merged.h5"])
def test_a_full_disk(qpibench, shards, tmp_path, unchanged, full_disk, command):
    out = tmp_path / "out"
    out.mkdir()
    arguments = command.format(shards=shards, out=out).split()
    with unchanged(), full_disk(500):
        qpibench(*arguments).fails(1, "does not fit", "File too large")
    assert qpibench(*arguments).exit_code == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody can write to")
def test_a_folder_where_nothing_can_be_written(qpibench):
    qpibench("generate", "mini", "--shard", "1/2", "-o", "/proc/shards").fails(
        2, "/proc/shards", "cannot be created", "choose another"
    )
