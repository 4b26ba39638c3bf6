"""A study of an entry that is trained in no time, and how it is run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the package

from benchmarks.arms import Arm, Study  # noqa: E402

PATIENCE_S = 60
TOY = ROOT / "tests" / "training" / "toy.py"
TRACK = ROOT / "tests" / "training" / "mini.toml"
FIRST = Arm(name="first", entry=str(TOY), recipe="plain", preset="small", track=str(TRACK))
OTHER = replace(FIRST, name="other", settings=("offset=0.5",))
ALONE = Study(question="How far does one get?", arms=(FIRST,))
TOY_STUDY = Study(question="Does an offset help?", arms=(FIRST, OTHER))


def written(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, and which file that is and since when."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def command_of(settings, told, *options, before=""):
    """A command that runs a study of the toy, whose first training waits until it is ended."""
    source = (
        f"{before}\n"
        "from benchmarks import studies\n"
        f"arm = studies.Arm(name='first', recipe='plain', preset='small', track={str(TRACK)!r},\n"
        f"    entry={str(TOY)!r}, settings=('wait={told}',))\n"
        "studies.STUDIES['toy'] = studies.Study(question='How long?', arms=(arm,))\n"
        "studies.main()\n"
    )
    request = ["toy", "--release", settings.release, "-o", settings.output, "--seeds", 0, 1, *options]
    return [sys.executable, "-c", source, *map(str, request)]


AT_EASE = "import os; os.nice = lambda increment: 0"
"""Keeps a queue from waiting for all other processes of the machine."""


def started(settings, tmp_path, *options, before=""):
    """Start a study of the toy, and wait until its first training waits; return both processes."""
    told = tmp_path / "told"
    study = psutil.Popen(
        command_of(settings, told, *options, before=before), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while not told.exists():
        assert study.poll() is None, study.communicate()
        psutil.wait_procs([study], timeout=0.01)
    return study, psutil.Process(int(told.read_text()))
