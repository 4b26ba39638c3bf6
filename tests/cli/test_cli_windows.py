"""Without the parts of POSIX that Windows lacks, the package imports, and commands that start no process work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qpibench.locator import PACKAGE

PROGRAM = [sys.executable, "-m", "qpibench.cli.main"]
HIDE = """
import os, select, signal, sys
import psutil  # imports resource on Linux
for name in ("fcntl", "resource", "pwd", "grp", "termios", "pty", "tty"):
    sys.modules[name] = None
for name in ("fork", "killpg", "setsid", "pread", "preadv", "pwrite", "pwritev", "posix_fallocate", "sched_getaffinity",
             "O_DIRECT", "O_NONBLOCK", "mkfifo", "mknod", "geteuid", "getuid"):
    vars(os).pop(name, None)
vars(select).pop("poll", None)
for name in ("SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1"):
    vars(signal).pop(name, None)
"""
ALL = """
import importlib, pkgutil, qpibench
for module in pkgutil.walk_packages(qpibench.__path__, "qpibench."):
    if "._" not in module.name:
        importlib.import_module(module.name)
"""


@pytest.fixture
def windows(tmp_path):
    """Run Python without what POSIX has."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "hidden"), str(PACKAGE.parent)])}

    def run(*command):
        return subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_every_module_of_the_package_can_be_imported(windows):
    pytest.importorskip("torch")
    pytest.importorskip("xarray")
    done = windows(sys.executable, "-c", ALL)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_works(windows):
    assert windows(*PROGRAM, "--help").returncode == 0


@pytest.mark.slow
def test_a_release_is_made_with_the_same_bytes(windows, mini, tmp_path):
    done = windows(*PROGRAM, "generate", "mini", "-o", tmp_path / "mini.h5")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mini.h5").read_bytes() == mini.read_bytes()
    assert windows(*PROGRAM, "verify", tmp_path / "mini.h5").returncode == 0


def test_predictions_are_scored(windows, mini, predictions, tmp_path):
    done = windows(*PROGRAM, "score", predictions, "--release", mini, "-o", tmp_path / "result.json")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command", ["predict zeros --release {mini} -o {out}", "train one_step --release {mini} -o {out}"]
)
def test_what_runs_a_model_says_what_it_needs(windows, mini, tmp_path, command):
    words = command.format(mini=mini, out=tmp_path / "out").split()
    done = windows(*PROGRAM, *words)
    assert done.returncode == 4, done.stderr
    assert "run on Linux and macOS" in done.stderr
    assert "WSL 2" in done.stderr
