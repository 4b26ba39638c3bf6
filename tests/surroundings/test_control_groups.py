"""One core and 1 GiB, as a small container has: the release `paper`, whose images take 0.8 GB, and a model on it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # makes the release `paper` on one core

PROGRAM = [sys.executable, "-m", "qpibench.cli.main"]
PAPER = "82c79372885f218582918703541efe1a6c8e33c1ad9a1375089da3d0bedea67a"
"""Hash of the release on every machine, as in tests/synthesis/test_bits.py."""

ROOT = Path("/sys/fs/cgroup")
VERSION_1 = {
    "cpu": {"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"},
    "memory": {"memory.limit_in_bytes": str(2**30)},
}
VERSION_2 = {"": {"cpu.max": "100000 100000", "memory.max": str(2**30)}}


@pytest.fixture
def container(run):
    """Run a program in a control group of its own."""
    made = []
    try:
        for controller, limits in (VERSION_2 if (ROOT / "cgroup.controllers").exists() else VERSION_1).items():
            made.append(ROOT / controller / f"qpibench-{os.getpid()}")
            made[-1].mkdir()
            for name, value in limits.items():
                (made[-1] / name).write_text(value)
    except OSError as error:
        pytest.skip(f"needs the right to make control groups ({error.strerror})")
    else:
        join = "; ".join(f"echo $$ > {shlex.quote(str(folder))}/cgroup.procs" for folder in made)
        yield lambda *command: run("sh", "-c", f'set -e; {join}; exec "$@"', "sh", *command)
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def test_a_core_and_a_gibibyte_are_enough_for_paper_and_a_model(container):
    findings = json.loads(container(*PROGRAM, "doctor", "--json").stdout)["findings"]
    found = {finding["what"]: finding["found"] for finding in findings}
    assert found["cores"].startswith("1 available of")
    assert found["memory"].endswith("available of 1.0 GiB")
    generated = container(*PROGRAM, "generate", "paper", "-o", "paper.h5", "--json")
    assert generated.returncode == 0, generated.stderr
    assert json.loads(generated.stdout)["content_sha256"] == PAPER
    options = ["--release", "paper.h5", "--track", "paper/ood-positions", "--limit", "4", "-o", "result.json"]
    evaluated = container(*PROGRAM, "evaluate", "tikhonov", *options, "--report", "report.html")
    assert evaluated.returncode == 0, evaluated.stderr
