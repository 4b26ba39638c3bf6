"""``make test-pythons`` with Pythons that are played by a shell script: what it says and its exit codes."""

from __future__ import annotations

import os
import sys

import pytest

from benchmarks import pythons

BUILD = pythons.build

PYTHON = """#!/bin/sh
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *oldest.txt*) echo "ERROR: No matching distribution found for numpy==2.0.0" >&2; echo hint >&2; exit 1 ;;
    *"-m pytest"*) exit "$TESTS" ;;
esac
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run the script where only Python 3.11 is installed; returns its exit code and what it printed."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "python3.11"
    program.write_text(PYTHON)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(pythons, "HOME", tmp_path / "environments")
    monkeypatch.setattr(pythons, "build", lambda folder: folder / "qpibench.whl")

    def run(*arguments, tests=0):
        monkeypatch.setenv("TESTS", str(tests))
        monkeypatch.setattr(sys, "argv", ["pythons.py", *arguments])
        return pythons.main(), *capfd.readouterr()

    return run


def test_packages_that_cannot_be_installed_are_named_and_the_others_are_tested(run):
    code, out, err = run("--pythons", "3.11")
    assert code == 4
    assert err == (
        "Python 3.11, oldest packages: they cannot be installed (No matching distribution found for numpy==2.0.0).\n"
    )
    assert "Python 3.11, newest packages: passed" in out


def test_a_python_that_is_missing_is_named(run):
    code, out, _ = run("--pythons", "3.99", "3.11", "--packages", "newest")
    assert (code, out.splitlines()[0]) == (4, "Python 3.99: not installed")


def test_a_failed_test_decides_the_exit_code(run):
    code, out, _ = run("--pythons", "3.99", "3.11", tests=1)
    assert code == 1
    assert "Python 3.11, newest packages: failed" in out


def test_a_wheel_that_cannot_be_built_is_one_sentence(run, monkeypatch):
    monkeypatch.setattr(pythons, "build", BUILD)
    monkeypatch.setattr(pythons, "copy_sources", lambda folder: folder.mkdir(parents=True))
    code, out, err = run()
    assert (code, out) == (1, "")
    assert err.startswith("The wheel cannot be built (")
    assert err.count("\n") == 1
