"""The command line compiles before its first image, says so, and works where the result cannot be kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from qpibench.locator import PACKAGE

PROGRAM = [sys.executable, "-m", "qpibench.cli.main"]
NO_FOLDER = "from numba.core import caching\ncaching.CompileResultCacheImpl._locator_classes = []\n"
ONLY_IN_HOME = """
import os, pwd
del os.environ["HOME"], os.environ["NUMBA_CACHE_DIR"]
def getpwuid(user):
    raise KeyError(user)
pwd.getpwuid = getpwuid
from numba.core import caching
caching.CompileResultCacheImpl._locator_classes = [
    each for each in caching.CompileResultCacheImpl._locator_classes if "UserWide" in each.__name__
]
"""
FULL_DISK = """
import errno
from numba.core import caching
def save(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")
caching.IndexDataCacheFile.save = save
"""


@pytest.fixture
def doctor(tmp_path):
    """Run the command that compiles least, in a folder and with a cache of its own, after some Python code."""
    (here := tmp_path / "here").mkdir()

    def run(*options, code=""):
        (tmp_path / "sitecustomize.py").write_text(code)
        path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", str(PACKAGE.parent))]))
        environment = os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        return subprocess.run(
            [*PROGRAM, "doctor", *options], env=environment, cwd=here, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.slow
def test_a_start_says_that_it_compiles_unless_the_cache_is_whole(doctor, tmp_path):
    assert doctor().stderr.count("Compiling for this processor, once") == 1
    assert "Compiling" not in doctor().stderr
    for path in (tmp_path / "cache").rglob("*.nb[ic]"):
        path.write_bytes(path.read_bytes()[:60])
    after_a_crash = doctor().stderr
    assert after_a_crash.count("Compiling for this processor, once") == 1
    assert "Unexpected" not in after_a_crash
    assert "Compiling" not in doctor().stderr


@pytest.mark.slow
def test_quiet_commands_compile_in_silence(doctor):
    assert "Compiling" not in doctor("--quiet").stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param(NO_FOLDER, "at every start", marks=pytest.mark.slow),
        (ONLY_IN_HOME, "at every start"),
        pytest.param(FULL_DISK, "No space left on device", marks=pytest.mark.slow),
    ],
    ids=["no folder", "no home", "full disk"],
)
def test_without_a_cache_everything_works_and_how_to_have_one_is_said_once(doctor, tmp_path, code, words):
    done = doctor(code=code)
    assert "Unexpected" not in done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert words in warning
    assert "set NUMBA_CACHE_DIR to a folder that can be written to" in warning
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.slow  # compiles everything
def test_generate_works_without_a_cache_and_does_not_count_compiling(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_FOLDER)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", str(PACKAGE.parent))]))
    command = [*PROGRAM, "generate", "mini", "-o", str(tmp_path / "mini.h5"), "--json"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["compile_seconds"] > 0
    assert found["evaluations_per_s"] * found["seconds"] == pytest.approx(found["evaluations"])


def test_the_rate_does_not_count_compiling(qpibench, tmp_path, monkeypatch):
    from qpibench.arithmetic import compiled

    seconds = iter((0.0, 1e6))
    monkeypatch.setattr(compiled, "compile_seconds", lambda: next(seconds))
    outcome = qpibench("generate", "mini", "-o", tmp_path / "mini.h5", "--json").json
    assert outcome["compile_seconds"] == 1e6
    assert outcome["seconds"] < 0  # all but 1e6 s of what the clock says
