"""Files that other programs, or a notebook, have open at the same time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.evaluation.predictions import open_predictions, release_of
from qpibench.release import open_release

HOLD = "import h5py, sys; f = h5py.File(sys.argv[1], sys.argv[2]); print('open', flush=True); sys.stdin.read()"


@contextmanager
def another_program(path, mode):
    """Hold a file open with h5py in another process."""
    command = [sys.executable, "-c", HOLD, str(path), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield
        process.stdin.close()


@contextmanager
def this_program(path, mode, **options):
    with h5py.File(path, mode, **options):
        yield


@pytest.fixture
def open_it(small_release, tmp_path):
    """Open a release, or predictions for it, and read a value."""
    with open_release(small_release) as release:
        path = tmp_path / "predictions.h5"
        with h5py.File(path, "w") as file:
            file.attrs["release_sha256"] = release.content_sha256
            for task in release.tasks:
                index = release.split(task, "test")
                file[f"{task}/index"] = index
                file[f"{task}/kernel"] = np.zeros((len(index), *release.grid.shape), np.float32)

    def release_():
        with open_release(small_release) as opened:
            return opened.read("observations/kernel")

    def predictions():
        with open_release(small_release) as opened:
            release_of(path, [opened])
            with open_predictions(path, opened) as found:
                return found.kernel("id")

    return {"release": (small_release, release_), "predictions": (path, predictions)}


KINDS = pytest.mark.parametrize("kind", ["release", "predictions"])


@KINDS
@pytest.mark.parametrize("holder", [this_program, another_program])
def test_a_file_that_is_read_elsewhere_can_be_read(open_it, kind, holder):
    path, read = open_it[kind]
    expected = read()
    with holder(path, "r"):
        np.testing.assert_array_equal(read(), expected)


@KINDS
@pytest.mark.parametrize("locking", [True, False, "best-effort"])
def test_every_kind_of_lock_of_a_reader_in_this_program_is_passed(open_it, kind, locking):
    path, read = open_it[kind]
    with this_program(path, "r", locking=locking):
        read()


@KINDS
@pytest.mark.parametrize("mode", ["r+", "a"])
@pytest.mark.parametrize("holder", [this_program, another_program])
def test_a_file_that_is_written_elsewhere_is_said_to_be(open_it, kind, holder, mode):
    path, read = open_it[kind]
    with (
        holder(path, mode),
        pytest.raises(QpibenchError, match=r"is open for writing.*close it") as error,
    ):
        read()
    assert not isinstance(error.value, InvalidDataError)
    read()


@pytest.mark.parametrize("kind", [socket.AF_UNIX, None], ids=["socket", "pipe"])
def test_what_is_no_file_is_not_opened(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    if kind is None:
        os.mkfifo("node")
    else:
        with socket.socket(kind) as made:
            made.bind("node")
    with pytest.raises(UsageError, match="'node' is a pipe, a socket or a device; name a regular file"):
        open_release("node")


def test_a_writer_without_locks_in_this_program_is_noticed(open_it):
    path, read = open_it["predictions"]
    with this_program(path, "r+", locking=False), pytest.raises(QpibenchError, match="is open for writing"):
        read()


def test_a_file_of_a_program_that_died_while_writing_is_not_said_to_be_damaged(open_it):
    path, read = open_it["predictions"]
    code = "import h5py, os, sys; f = h5py.File(sys.argv[1], 'w', libver='latest'); f['x'] = 1; f.flush(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    with pytest.raises(QpibenchError, match=r"is marked as open for writing.*h5clear -s") as error:
        read()
    assert not isinstance(error.value, InvalidDataError)
