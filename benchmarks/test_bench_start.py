"""Benchmark of the start-up time of fresh processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).with_name("qpibench"))


@pytest.mark.parametrize(
    ("what", "command"),
    [("`qpibench --help`", [PROGRAM, "--help"]), ("`import qpibench`", [sys.executable, "-c", "import qpibench"])],
    ids=["help", "import"],
)
def test_start(alternate, report, request, what, command):
    def run(arguments):
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)

    bare = [sys.executable, "-c", ""]
    rounds = alternate(lambda: run(command), {"bare": lambda: run(bare)}, rounds=15)

    key = f"start.{request.node.callspec.id}"
    report(key, f"{what} in a fresh process", "s", rounds.seconds, at_most=0.5)
    report(
        f"{key}.over_bare",
        f"{what} over an interpreter that does nothing",
        "x",
        rounds.seconds / rounds.reference["bare"],
        better="lower",
    )
