"""The command line on file systems without locks, as some set-ups of NFS and Lustre are."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import pytest

PROGRAM = [sys.executable, "-m", "qpibench.cli.main"]
FLOCK = "#include <errno.h>\nint flock(int fd, int operation) {{ errno = {number}; return -1; }}\n"


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS], ids=["ENOLCK", "ENOSYS"])
def run(request, tmp_path_factory):
    """Run a command to whom no file system gives a lock."""
    if sys.platform != "linux" or not shutil.which("gcc"):
        pytest.skip("needs gcc, and LD_PRELOAD of Linux")
    folder = tmp_path_factory.mktemp("no-locks")
    (folder / "flock.c").write_text(FLOCK.format(number=request.param))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "flock.so", "flock.c"], cwd=folder, check=True)

    def command(*arguments, **variables):
        environment = {**os.environ, **variables, "LD_PRELOAD": str(folder / "flock.so")}
        return subprocess.run(
            [*PROGRAM, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
        )

    return command


@pytest.mark.parametrize(
    ("run", "locking"),
    [
        (errno.ENOLCK, "TRUE"),
        *(pytest.param(errno.ENOLCK, locking, marks=pytest.mark.slow) for locking in ("FALSE", "BEST_EFFORT")),
        pytest.param(errno.ENOSYS, "TRUE", marks=pytest.mark.slow),
    ],
    ids=["ENOLCK-TRUE", "ENOLCK-FALSE", "ENOLCK-BEST_EFFORT", "ENOSYS-TRUE"],  # a best effort bears ENOSYS by itself
    indirect=["run"],
)
def test_reading_needs_no_locks(run, mini, predictions, tmp_path, locking):
    scored = run("score", predictions, "--release", mini, "-o", tmp_path / "r.json", HDF5_USE_FILE_LOCKING=locking)
    assert (scored.returncode, scored.stderr) == (0, "")


def test_generate_works_and_warns_once(run, qpibench, mini, tmp_path):
    made = run("generate", "mini", "-o", tmp_path / "mini.h5")
    assert made.returncode == 0, made.stderr
    assert made.stderr.count("Warning: ") == made.stderr.count("has no locks") == 1
    assert (tmp_path / "mini.h5").read_bytes() == mini.read_bytes()
    assert os.listdir(tmp_path) == ["mini.h5"]


def test_locks_that_the_user_demands_beside_those_of_the_package_are_named(tmp_path):
    command = [*PROGRAM, "generate", "mini", "-o", str(tmp_path / "mini.h5")]
    environment = {**os.environ, "HDF5_USE_FILE_LOCKING": "TRUE"}
    failed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "which qpibench has locked itself" in failed.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == []


def test_locks_that_the_user_demands_and_the_file_system_lacks_are_named(run, tmp_path):
    failed = run("generate", "mini", "-o", tmp_path / "mini.h5", HDF5_USE_FILE_LOCKING="TRUE")
    assert failed.returncode == 1
    assert "HDF5_USE_FILE_LOCKING" in failed.stderr.splitlines()[-1]
