"""A hostile model of the same ordinary user finds neither the release nor the predictions through the evaluation."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qpibench.evaluation.entries import find_entry
from qpibench.evaluation.isolation.isolated import IsolatedModel, Limits
from qpibench.evaluation.isolation.parent import names
from qpibench.locator import PACKAGE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")

NOBODY = 65534

HOSTILE = """
    import ctypes, json, os

    PARENT = f"/proc/{os.getppid()}"
    NUMBERS = [number for number in range(64) if os.path.lexists(f"/proc/self/fd/{number}")]
    MINE = {number: os.readlink(f"/proc/self/fd/{number}") for number in NUMBERS}

    def read(path):
        if os.path.islink(path):
            os.readlink(path)
        if os.path.isdir(path):
            return os.listdir(path)
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))

    def succeeds(attempt, *arguments):
        try:
            attempt(*arguments)
        except OSError:
            return False
        return True

    def copied_descriptor(number):
        libc = ctypes.CDLL(None, use_errno=True)
        handle = libc.syscall(434, os.getppid(), 0)  # pidfd_open
        if libc.syscall(438, handle, number, 0) < 0:  # pidfd_getfd
            raise OSError

    def predict(batch):
        names = ("fd", "fdinfo", "map_files", "environ", "mem", "maps", "cwd", "root", "exe", "auxv", "smaps")
        opened = [name for name in names if succeeds(read, f"{PARENT}/{name}")]
        opened += [name for number in range(64) if succeeds(read, name := f"{PARENT}/fd/{number}")]
        opened += [name for number in range(64) if succeeds(read, name := f"{PARENT}/task/{PARENT[6:]}/fd/{number}")]
        opened += [f"copy of {number}" for number in range(64) if succeeds(copied_descriptor, number)]
        with open(f"{PARENT}/cmdline", "rb") as file:
            line = file.read().decode()
        here = os.path.dirname(__file__)
        told = {"opened": opened, "command line": line, "own descriptors": MINE, "neighbours": os.listdir(here)}
        with open(os.path.join(here, "told.json"), "w") as file:
            json.dump(told, file)
        return batch.image
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder of an ordinary user: this one, or `nobody` for root."""
    with tempfile.TemporaryDirectory() as folder:
        if os.getuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield Path(folder)


@pytest.fixture(scope="module")
def run_as_user(home) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as that user, in that folder."""
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.getuid() == 0 else {}
    libraries = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *libraries]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NUMBA_CACHE_DIR": str(home),
    }

    def run(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, *arguments], cwd=home, env=environment, capture_output=True, text=True, check=False, **user
        )

    # The Python of a virtual environment may lie in a folder that is root's alone.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in filter(None, (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin"))):
        try:
            if run(python, "-c", "import qpibench.release, click").returncode == 0:
                return lambda *arguments: run(python, "-m", "qpibench.cli.main", *arguments)
        except PermissionError:
            continue
    pytest.skip("no Python here that an ordinary user can run")


@pytest.fixture(scope="module")
def told(home, run_as_user, mini_release) -> dict[str, object]:
    """What a hostile model found out during `evaluate`."""
    shutil.copy(mini_release.path, home / "secret.h5")
    (home / "hostile.py").write_text(textwrap.dedent(HOSTILE))
    if os.getuid() == 0:
        for path in home.iterdir():
            os.chown(path, NOBODY, NOBODY)
    outputs = ("-o", "result.json", "--predictions", "answers.h5")
    outcome = run_as_user("evaluate", "hostile.py", "--release", "./secret.h5", "--limit", "4", *outputs)
    assert outcome.returncode == 0, outcome.stderr
    return json.loads((home / "told.json").read_text())


def test_a_hostile_model_opens_nothing_of_the_process_that_evaluates_it(told):
    assert told["opened"] == []


def test_the_command_line_does_not_tell_a_model_where_the_release_is(told):
    assert "evaluate" in told["command line"]
    assert "secret" not in told["command line"]


@pytest.mark.parametrize(
    "text", ["./r.h5", "a=.//./r.h5", "/data//sets/r.h5", "/data/./sets/r.h5", "x:/data/sets/r.h5"]
)
def test_a_path_is_recognised_in_every_spelling_of_the_same_folder(monkeypatch, text):
    monkeypatch.setattr(Path, "absolute", lambda path: Path("/data/sets") / path)
    assert names(text, [Path("r.h5")])
    assert not names(text.replace("r.h5", "other.h5"), [Path("r.h5")])


def test_a_model_holds_two_pipes_and_its_own_output(told):
    kinds = [re.sub(r"[^a-z]+", " ", place).strip() for place in told["own descriptors"].values()]
    assert kinds == ["dev null", "tmp deleted", "tmp deleted", "pipe", "pipe"]


def test_predictions_have_no_name_while_the_model_runs(told, home):
    assert not any("answers" in name for name in told["neighbours"])
    assert (home / "answers.h5").stat().st_size > 0


def test_the_evaluating_process_is_as_before_once_the_model_has_ended(write_model):
    before = Path("/proc/self/cmdline").read_bytes(), _dumpable()
    hidden = [Path(os.fsdecode(before[0].split(b"\0")[1]))]
    model = IsolatedModel(find_entry(write_model("def predict(batch): ...")), limits=Limits(), hidden=hidden)
    with model, IsolatedModel(find_entry("zeros"), limits=Limits()):
        during = Path("/proc/self/cmdline").read_bytes(), _dumpable()
    assert during[1] == 0
    assert b"*" in during[0]
    assert (Path("/proc/self/cmdline").read_bytes(), _dumpable()) == before


def _dumpable() -> int:
    import ctypes

    return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
