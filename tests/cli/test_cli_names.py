"""Names that are long, not ASCII, not even text, or of no regular file: in every place where something is read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

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


SPEC = """# Größe – 図
name = "small"
observations_per_kernel = 4
grid = { ny = 16, nx = 16, size_y_nm = 5.0, size_x_nm = 5.0 }
kernels = { count = 10, wavelength_nm = [1.5, 3.0], decay_nm = [1.0, 2.0] }
scatterers = { max = 3 }
"""
MODEL = """# Größe – 図
def predict(batch):
    print("Größe – 図")
    return 0 * batch.image
"""
SESSION = """
generate spéc.toml -o rélease.h5
info rélease.h5
check mödel.py
evaluate mödel.py --release rélease.h5 --limit 1 -o results/résult.json --predictions p–图.h5 --report rëport.html
leaderboard build results -o sïte
leaderboard check results/résult.json --predictions p–图.h5 --release rélease.h5
train töy.py --release rélease.h5 --steps 2 -o rün
evaluate rün --release rélease.h5 -o results/rün.json
compare p–图.h5 --against p–图.h5 --release rélease.h5
export-csv rélease.h5 --kernel 0 -o kërnel.csv
import kërnel.csv -o impört.h5 --name imported
tracks tr.toml
"""
TRACK = """
summary = "Größe – 図"
[cells.one]
specs = ["spéc.toml"]
task = "id"
view = "positions"
metrics = ["mae"]
primary = "mae"
"""
ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files that are not ASCII, by name and content, in the test's folder."""
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    for name, text in {"spéc.toml": SPEC, "mödel.py": MODEL, "tr.toml": TRACK}.items():
        Path(name).write_text(text, encoding="utf-8")
    toy = (Path(__file__).parents[1] / "training" / "toy.py").read_text(encoding="utf-8")
    Path("töy.py").write_text(f"# Größe – 図\n{toy}", encoding="utf-8")


@pytest.mark.slow  # a process for each of a dozen commands
def test_texts_and_names_that_are_not_ascii_are_read_and_written_in_any_locale(files):
    for each in SESSION.strip().splitlines():
        words = [word.encode() for word in each.split()]
        done = subprocess.run(
            [sys.executable, "-m", "qpibench.cli.main", *words], env={**os.environ, **ASCII}, capture_output=True
        )
        assert (done.returncode, done.stderr.count(b"Error")) == (0, 0), (each, done.stderr)
        assert done.stdout.decode("ascii")
    assert json.loads(Path("results/résult.json").read_bytes())["model"]["name"] == "mödel"
    assert Path("sïte/results/résult.json").is_file()


def test_json_of_names_that_are_not_ascii_is_json_on_an_ascii_terminal(files):
    command = [sys.executable, "-m", "qpibench.cli.main", "generate", "spéc.toml".encode(), "-o", "rélease.h5".encode()]
    done = subprocess.run([*command, "--json"], env={**os.environ, **ASCII}, capture_output=True)
    assert json.loads(done.stdout.decode("ascii"))["path"] == "rélease.h5"


@pytest.mark.parametrize("command", ["check {name}", "evaluate {name} --release {mini} -o out", "tracks {name}"])
def test_a_name_that_no_record_can_hold_is_refused(run, tmp_path, command):
    path = tmp_path / f"{UNDECODABLE}{'.toml' if 'tracks' in command else '.py'}"
    path.write_text(TRACK.replace("spéc.toml", "mini") if "tracks" in command else MODEL, encoding="utf-8")
    run(command, path).fails(2, "not valid UTF-8", "rename it")


def test_a_release_whose_path_is_not_text_is_read(qpibench, mini, tmp_path):
    path = shutil.copy(mini, tmp_path / UNDECODABLE)
    assert qpibench("verify", path).exit_code == 0
    outcome = qpibench("info", path, "--json")
    assert os.fsencode(outcome.json["path"]) == os.fsencode(path)


def test_tables_cut_long_names_and_show_no_control_characters(qpibench, mini, result, tmp_path):
    content = json.loads(result.read_text(encoding="utf-8"))
    content["model"]["name"] = "long\x1b[2J " * 700
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "long.json").write_text(json.dumps(content), encoding="utf-8")
    track = TRACK.replace("spéc.toml", "mini").replace("cells.one", "cells." + "n" * 5000).replace("Größe", "x" * 5000)
    (tmp_path / "long.toml").write_text(track, encoding="utf-8")
    for command in (f"leaderboard build {tmp_path}/results -o {tmp_path}/site", f"tracks {tmp_path}/long.toml"):
        outcome = qpibench(*command.split())
        assert outcome.exit_code == 0
        assert "..." in outcome.stdout
        assert "\x1b" not in outcome.stdout
        assert max(map(len, outcome.stdout.splitlines())) < 250
