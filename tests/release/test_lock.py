"""Two processes never write the same file, on file systems with locks and without."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import subprocess
import sys

import pytest

from qpibench.notices import shown
from qpibench.release import lock
from qpibench.release.lock import BusyError, FileLock


@pytest.fixture(params=[None, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, "no fcntl"])
def file_system(request, monkeypatch):
    """With locks, then without them in several ways."""
    if request.param == "no fcntl":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    elif request.param is not None:
        monkeypatch.setattr(fcntl, "flock", _failing(request.param))


@pytest.fixture
def without_locks(monkeypatch):
    monkeypatch.setattr(fcntl, "flock", _failing(errno.ENOLCK))


def _failing(number):
    def flock(fd, operation):
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.usefixtures("file_system")
def test_a_locked_file_cannot_be_locked_again_until_the_lock_is_released(tmp_path):
    path = tmp_path / "file"
    held = FileLock(path)
    with pytest.raises(BusyError):
        FileLock(path)
    held.close()
    FileLock(path).close()
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.usefixtures("without_locks")
def test_the_lack_of_locks_is_said_once(tmp_path):
    said = []
    with shown(notes=said.append, warnings=said.append):
        for _ in range(3):
            FileLock(tmp_path / "file").close()
    assert [sentence.startswith("Warning: The file system of") for sentence in said] == [True]


@pytest.mark.usefixtures("without_locks")
def test_the_mark_of_a_killed_process_of_this_machine_is_taken_over(tmp_path):
    code = (
        "import fcntl, os, pathlib, sys\n"
        "def flock(fd, operation): raise OSError(37, 'No locks available')\n"
        "fcntl.flock = flock\n"
        "from qpibench.release.lock import FileLock\n"
        "FileLock(pathlib.Path(sys.argv[1]))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=False, stderr=subprocess.DEVNULL)
    assert (tmp_path / "file.lock").exists()
    FileLock(tmp_path / "file").close()
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.usefixtures("without_locks")
def test_a_mark_beside_a_long_name_is_taken_over(tmp_path):
    path = tmp_path / ("n" * 247)  # a name has 255 bytes at most
    path.with_name(f"{path.name}.lock").write_text(json.dumps({"host": lock._host(), "pid": 2**22 + 1, "started": 1e9}))
    FileLock(path).close()
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize("host", ["elsewhere", lock._host()])
def test_the_mark_of_a_process_that_may_run_is_respected_and_named(tmp_path, host):
    import psutil

    owner = {"host": host, "pid": os.getpid(), "started": psutil.Process().create_time()}
    (tmp_path / "file.lock").write_text(json.dumps(owner))
    with pytest.raises(BusyError, match=f"process {os.getpid()} of machine '{re.escape(host)}' .*file.lock"):
        FileLock(tmp_path / "file")
    assert json.loads((tmp_path / "file.lock").read_text()) == owner


@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize("make", [None, os.mkfifo, os.mkdir])
def test_a_mark_that_cannot_be_read_is_named(tmp_path, make):
    (make or (lambda path: path.write_text("{")))(tmp_path / "file.lock")
    with pytest.raises(BusyError, match="cannot be read; remove it if no process writes"):
        FileLock(tmp_path / "file")


def test_another_failure_of_a_lock_is_not_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", _failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        FileLock(tmp_path / "file")
