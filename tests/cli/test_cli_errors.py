"""Unexpected errors give one sentence and exit code 1; common options may stand anywhere."""

from __future__ import annotations

import json

import pytest

import qpibench.release as release_package
from qpibench import __version__
from qpibench.cli.response import Response, Settings, show


@pytest.mark.parametrize(
    ("error", "exit_code", "sentence"),
    [
        (ZeroDivisionError("division\nby zero"), 1, "Unexpected ZeroDivisionError: division by zero (run with --trace"),
        (OSError(5, "Input/output error", "disk.h5"), 1, "'disk.h5': Input/output error"),
        (OSError("no number"), 1, "Unexpected OSError: no number"),
        (MemoryError(), 1, "The memory of this machine is not enough"),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_that_nobody_foresaw_is_one_sentence(qpibench, mini, monkeypatch, error, exit_code, sentence):
    def fail(*_):
        raise error

    monkeypatch.setattr(release_package, "open_release", fail)
    for arguments in (["info", mini], ["info", mini, "--json"]):
        outcome = qpibench(*arguments)
        assert outcome.exit_code == exit_code
        assert outcome.error.startswith(sentence)
        assert "Traceback" not in outcome.stdout + outcome.stderr
    assert outcome.json["error"] == {"message": outcome.error, "exit_code": exit_code}


@pytest.mark.parametrize("arguments", [["--traceback", "info"], ["info", "--traceback"]], ids=" ".join)
def test_the_traceback_is_shown_when_asked_for(qpibench, tmp_path, arguments):
    outcome = qpibench(*arguments, tmp_path / "missing.h5")
    assert outcome.exit_code == 2
    assert "Traceback (most recent call last)" in outcome.stderr
    assert outcome.error.startswith("There is no file")


@pytest.mark.parametrize("arguments", [["--json", "info"], ["info", "--json"]], ids=" ".join)
def test_an_error_is_json_where_json_is_asked_for_before_or_behind_the_command(qpibench, tmp_path, arguments):
    outcome = qpibench(*arguments, tmp_path / "missing.h5")
    assert outcome.json == {"schema_version": 2, "error": {"message": outcome.error, "exit_code": 2}}


def test_numbers_that_are_not_finite_are_null_in_json(capsys):
    fields = {"rms": float("nan"), "limits": (1.5, float("-inf"))}
    assert show(Response(fields=fields), Settings(json=True, quiet=False, traceback=False)) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (found["rms"], found["limits"]) == (None, [1.5, None])


def test_what_stands_behind_two_dashes_is_no_option(qpibench):
    outcome = qpibench("info", "--", "--json")
    assert outcome.stdout == ""
    outcome.fails(2, "There is no file '--json'")


def test_the_version_is_that_of_the_package(qpibench):
    assert qpibench("--version").stdout == f"qpibench, version {__version__}\n"
