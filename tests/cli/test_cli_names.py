"""Names that are long, not ASCII, not even text, or of no regular file: in every place where something is read."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import pytest

UNDECODABLE = os.fsdecode(b"caf\xe9")

COMMANDS = [
    "generate {name} -o out",
    "merge {name} -o out",
    "import {name} -o out",
    "export-csv {name} --kernel 0 -o out",
    "verify {name}",
    "info {name}",
    "check {name}",
    "check {name}.py",
    "check {name}.py:Model",
    "tracks {name}",
    "predict {name} --release {mini} -o out",
    "predict zeros --release {name} -o out",
    "predict zeros --release {mini} --track {name} -o out",
    "predict zeros --release {mini} --track {name}.toml/cell -o out",
    "predict zeros --release {mini} --task {name} -o out",
    "predict zeros --release {mini} --view {name} -o out",
    "evaluate {name} --release {mini} -o out",
    "score {name} --release {mini} -o out",
    "score {predictions} --release {name} -o out",
    "compare {name} --against {predictions} --release {mini}",
    "compare {predictions} --against {name} --release {mini}",
    "compare {predictions} --against {predictions} --release {mini} --metric {name}",
    "oracle nearest_kernel --release {name} -o out",
    "leaderboard build {name} -o out",
    "leaderboard check {name}",
    "leaderboard check {result} --predictions {name} --release {mini}",
    "leaderboard check {result} --predictions {predictions} --release {name}",
    "bench report {name} -o out",
    "bench compare {name} {result}",
    "train {name} --stream mini -o out",
    "train zeros --stream {name} -o out",
    "train zeros --release {name} -o out",
    "schema {name}",
    "{name}",
]

OF_FILES = [command for command in COMMANDS if not command.startswith(("schema", "{"))]

STREAMS = ("import", "leaderboard check {name}", "bench compare")
"""Commands that read a text from its beginning to its end, and so may read a pipe."""


class WaitedError(BaseException):
    """The command waited, and no code of ours caught this."""


@pytest.fixture
def run(qpibench, mini, predictions, result, tmp_path, monkeypatch):
    """Run a command of this file in the test's folder; fail where it waits for ever."""
    monkeypatch.chdir(tmp_path)
    places = {"mini": mini, "predictions": predictions, "result": result}

    def run(command, name):
        with time_limit(60):
            return qpibench(*(part.format(name=name, **places) for part in command.split()))

    return run


@contextmanager
def time_limit(seconds):
    def stop(*_):
        raise WaitedError

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


@pytest.mark.parametrize("name", ["n" * 5000, "n" * 300], ids=["5,000", "300"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_no_file_can_have_is_refused_in_a_short_sentence(run, command, name):
    outcome = run(command, name)
    outcome.fails(2)
    assert len(outcome.stderr) < 1500


@pytest.mark.parametrize("name", ["Maß–图", UNDECODABLE], ids=["not ASCII", "not UTF-8"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_file_of_any_name_is_missing(run, command, name):
    run(command, name).fails(2)


@pytest.mark.parametrize("command", [each for each in OF_FILES if not each.startswith(STREAMS)])
def test_a_pipe_is_not_waited_for(run, tmp_path, command):
    for ending in ("", ".py", ".toml"):
        os.mkfifo(tmp_path / f"pipe{ending}")
    outcome = run(command, "pipe")
    outcome.fails(outcome.exit_code)
    assert outcome.exit_code in (2, 3)


@pytest.mark.parametrize("command", OF_FILES)
def test_a_loop_of_links_is_refused(run, tmp_path, command):
    for ending in ("", ".py", ".toml"):
        (tmp_path / f"loop{ending}").symlink_to(f"loop{ending}")
    run(command, "loop").fails(2)
