"""Negative controls of the campaigns of files, models and streams: faked faults must be found, each by its rule."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.campaigns import full_disks, hostile_models, input_files, mutated_inputs, stream_jumps
from benchmarks.campaigns.campaign import Tally
from benchmarks.campaigns.commands import Ran
from benchmarks.campaigns.input_files import Input
from benchmarks.campaigns.processes import Process
from qpibench.errors import QpibenchError
from qpibench.evaluation.entries import Entry
from qpibench.evaluation.predictions_writer import PredictionsWriter
from qpibench.evaluation.run_record import RunFolder, load_run
from qpibench.files import write_whole
from qpibench.grid import Grid
from qpibench.locator import locate


class Faked:
    """Commands that are not run: a function of the words of each does its work and returns its exit code."""

    def __init__(self, act, content_sha256="right"):
        self.act, self.content_sha256 = act, content_sha256

    def run(self, words):
        if words[0] == "verify":
            return Ran(0, stdout=f"{self.content_sha256}  {words[1]}\n")
        code = self.act(Path(words[1]))
        return Ran(code, stderr="Error: It is damaged.\n" if code else "")


def _nothing(file):
    return 3


def _input_rewritten(file):
    file.write_bytes(b"other")
    return 0


def _input_rewritten_by_a_failure(file):
    file.write_bytes(b"other")
    return 3


def _base_rewritten(file):
    (file.parents[1] / "base" / "b").write_bytes(b"other")
    return 0


def _output_of_a_failure(file):
    file.with_name("out").write_bytes(b"half")
    return 3


def _completed(file):
    file.rename(file.with_name("i.h5"))
    return 0


def _completed_with_a_rest(file):
    file.with_name("i.h5").write_bytes(b"whole")
    return 0


@pytest.mark.parametrize(
    ("act", "content_sha256", "problem"),
    [
        (_nothing, "right", None),
        (_input_rewritten, "right", "a file that it was not to change"),
        (_input_rewritten_by_a_failure, "right", "a file that it was not to change"),
        (_base_rewritten, "right", "a file that it was not to change"),
        (_output_of_a_failure, "right", "an output of a command that failed"),
        (_completed, "right", None),
        (_completed, "wrong", "completed otherwise"),
        (_completed_with_a_rest, "right", "completed otherwise"),
    ],
)
def test_files_that_a_command_may_not_change_or_complete_otherwise(tmp_path, monkeypatch, act, content_sha256, problem):
    monkeypatch.setattr(mutated_inputs, "INPUTS", 1)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "b").write_bytes(b"whole")
    interrupted = act in (_completed, _completed_with_a_rest)
    chosen = Input(
        name=".i.h5.partial" if interrupted else "a",
        content=b"content",
        mutations=("bytes",),
        commands=("read {file}",),
        changes=(".i.h5.partial",) if interrupted else (),
        completes={"i.h5": "right"} if interrupted else {},
    )
    tally = Tally()
    mutated_inputs._trial({"file": chosen}, tmp_path, Faked(act, content_sha256), Random(0), tally)
    assert [each["outcome"] for each in tally.problems] == ([] if problem is None else [f"file: {problem}"])


def test_damaged_weights_are_not_refused_before_the_model_reads_them(tmp_path):
    kept = locate("baselines") / "weights" / "one_step" / "run.json"
    chosen = input_files._weights({"run.json": kept.read_bytes(), "weights.safetensors": b"whole"}, b"")
    folder = RunFolder(mutated_inputs._place(tmp_path, chosen, b"damaged").parent)
    entry = Entry(name="toy", path=tmp_path / "entry" / "toy.py", folder=folder, run=load_run(folder.path))
    assert entry.weights_sha256() == {"weights.safetensors": hashlib.sha256(b"damaged").hexdigest()}


def _write_result(folder):
    write_whole(folder / "r.json", b"content", what="Result")


def _write_predictions(folder):
    grid = Grid(ny=2, nx=2, size_y_nm=1.0, size_x_nm=1.0)
    index = {"id": np.arange(2)}
    with PredictionsWriter(folder / "p.h5", release_sha256="0" * 64, index=index, grid=grid) as writer:
        writer.write("id", 0, {"kernel": np.zeros((2, 2, 2), np.float32)})


@pytest.mark.parametrize("write", [_write_result, _write_predictions])
def test_the_refused_call_write_reaches_outputs_that_are_not_releases(tmp_path, monkeypatch, write):
    for name in full_disks.CALLS:
        monkeypatch.setattr(os, name, getattr(os, name))
    monkeypatch.setattr(full_disks, "CALLS", ("write",))
    full_disks.fail_call(1, errno.ENOSPC, tmp_path, [0])
    with pytest.raises(QpibenchError, match="cannot be written: No space left"):
        write(tmp_path)
    assert os.listdir(tmp_path) == []


class Batches:
    """Batches of a stream, which are right but for one fault."""

    def __init__(self, size, fault=""):
        self.size, self.fault, self.step = size, fault, 0
        self.spec = SimpleNamespace(name="toy")

    def __call__(self, step):
        numbers = np.arange(step * self.size, (step + 1) * self.size) % (7 if self.fault == "repeated" else 2**40)
        return {"image": numbers.astype(float) + (self.fault == "other")}

    def seek(self, step):
        self.step = step

    def __next__(self):
        self.step += 1
        return {
            name: SimpleNamespace(numpy=lambda values=values: values) for name, values in self(self.step - 1).items()
        }


@pytest.mark.parametrize(
    ("one", "moved", "memory_mib", "problem"),
    [
        ("", "", (500, 3300), None),
        ("other", "", (500, 500), "image of image 3 is another one when it is made alone"),
        ("", "other", (500, 500), "image is another one in a stream that was moved there"),
        ("", "", (500, 3329), "3,490,709,504 bytes of memory"),
    ],
)
def test_what_jumps_find(monkeypatch, one, moved, memory_mib, problem):
    size, tally, seen = stream_jumps.IMAGES_PER_BATCH, Tally(), {}
    told = iter(memory_mib)
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=next(told) * 2**20))
    monkeypatch.setattr(stream_jumps.psutil, "Process", lambda: process)
    for number in range(2):
        each = (Batches(size), Batches(1, one), Batches(size, moved))
        stream_jumps._trial(*each, seen, Random(number), tally)
    assert [each["what"].partition(": ")[2] for each in tally.problems[-1:]] == ([] if problem is None else [problem])


def test_a_jump_finds_an_image_that_has_been_there():
    size, tally = stream_jumps.IMAGES_PER_BATCH, Tally()
    each = (Batches(size, "repeated"), Batches(1, "repeated"), Batches(size, "repeated"))
    seen = {}
    for number in range(3):
        stream_jumps._trial(*each, seen, Random(number), tally)
    assert "an image has been there before" in tally.problems[0]["what"]


def test_a_jump_to_a_step_that_was_drawn_before_finds_its_images_again():
    size, tally, seen = stream_jumps.IMAGES_PER_BATCH, Tally(), {}
    for _ in range(2):
        stream_jumps._trial(Batches(size), Batches(1), Batches(size), seen, Random(1), tally)
    assert not tally.problems


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A function that judges an evaluation in which a function does mischief, given the folder of the case."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "mini.h5").write_bytes(b"whole")

    def trial(mischief):
        def evaluate():
            Path("r.json").touch()
            Path("p.h5").touch()
            mischief(tmp_path / "case")
            os._exit(0)

        def start(words, first):
            return Process(words, first=lambda: (first(), evaluate()))

        monkeypatch.setattr(hostile_models, "Process", start)
        tally = Tally()
        hostile_models._trial(tmp_path / "mini.h5", tmp_path / "case", tally)
        return [each["what"].partition(": ")[0] for each in tally.problems]

    return trial


def test_what_hostile_models_find(hostile, monkeypatch):
    assert hostile(lambda case: None) == []
    assert hostile(lambda case: (case / "my_model.py").write_bytes(b"other")) == ["files {'my_model.py'}"]
    assert hostile(lambda case: Path("left").touch()) == ["files {'left'}"]
    assert hostile(lambda case: (case.parent / "mini.h5").write_bytes(b"other")) == ["the release has changed"]
    monkeypatch.setattr(hostile_models, "PATIENCE_S", 0.2)
    assert hostile(lambda case: signal.pause()) == ["it hangs"]


def test_an_evaluation_that_takes_too_much_memory_is_a_problem(hostile, monkeypatch):
    read_fd, write_fd = os.pipe()
    monkeypatch.setattr(Process, "memory_bytes", lambda process: os.write(write_fd, b".") * 2**32)
    assert hostile(lambda case: os.read(read_fd, 1)) == ["4,294,967,296 bytes of memory"]


def test_the_memory_of_a_command_and_of_its_children_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    read_fd, write_fd = os.pipe()
    code = f"import os; kept = b'x' * 2**26; os.write({write_fd}, b'r'); input()"

    def take():
        kept = b"x" * 2**26
        subprocess.run([sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=[write_fd])
        del kept

    process = Process(["--version"], first=take)
    os.read(read_fd, 1)
    assert process.memory_bytes() > 2**27
    process.kill()
    assert process.left() is None
