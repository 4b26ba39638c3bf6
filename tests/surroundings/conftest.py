"""Run commands of qpibench as on machines that lack something."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-m", "qpibench.cli.main"]


@pytest.fixture
def run(tmp_path):
    """Run a program in the test's folder; what must not be set is None."""

    def run(*command, **variables):
        environment = {name: text for name, text in (os.environ | variables).items() if text is not None}
        return subprocess.run(
            [*map(str, command)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def namespace(run):
    """Run a program after a shell script changed what is mounted where, for that program only."""
    enter = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--mount"]
    if sys.platform != "linux" or not shutil.which("unshare") or run(*enter, "true").returncode:
        pytest.skip("needs Linux, and the right to make namespaces")

    def within(script, *command, **variables):
        return run(*enter, "sh", "-c", f'set -e; {script}; exec "$@"', "sh", *command, **variables)

    return within


@pytest.fixture
def mini(run, tmp_path) -> Path:
    """The release `mini`, made on this machine as it is."""
    done = run(*PROGRAM, "generate", "mini", "-o", "mini.h5")
    assert done.returncode == 0, done.stderr
    return tmp_path / "mini.h5"
