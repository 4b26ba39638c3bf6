"""Without the parts of Linux that macOS lacks, and under its name, the main job is done with the same bytes."""

from __future__ import annotations

import os
import sys

import pytest

from qpibench.locator import PACKAGE

PROGRAM = [sys.executable, "-m", "qpibench.cli.main"]
HIDE = """
import os, sys
for name in ("sched_getaffinity", "sched_setaffinity", "posix_fallocate", "posix_fadvise", "memfd_create", "pipe2",
             "eventfd", "splice", "copy_file_range", "setresuid", "O_DIRECT", "O_TMPFILE", "O_PATH"):
    vars(os).pop(name, None)
# What asks for the name of the system when it is imported is imported before the name changes.
import asyncio, ctypes.util, multiprocessing, platform, subprocess, tempfile
import h5py, numba, numpy, psutil, scipy.signal
sys.platform = "darwin"
"""


@pytest.fixture
def macos(run, tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDE)
    path = os.pathsep.join([str(tmp_path / "hidden"), str(PACKAGE.parent)])
    return lambda *arguments: run(*PROGRAM, *arguments, PYTHONPATH=path)


@pytest.mark.slow
def test_a_release_has_the_same_bytes_and_a_model_runs(macos, mini, tmp_path):
    done = macos("generate", "mini", "-o", "again.h5")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again.h5").read_bytes() == mini.read_bytes()
    assert macos("verify", "again.h5").returncode == 0
    done = macos("evaluate", "tikhonov", "--release", "again.h5", "--map", "exact", "--limit", "1", "-o", "result.json")
    assert done.returncode == 0, done.stderr
