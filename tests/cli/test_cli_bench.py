"""`bench report` and `bench compare`: what they print, and every exit code."""

from __future__ import annotations

import json
import sys

import pytest


def write(path, value, *, day=1, cores=2, name="speed.ratio"):
    figure = {"name": name, "what": "speed", "unit": "x", "rounds": 9}
    figure |= {"value": value, "low": 0.99 * value, "high": 1.01 * value}
    machine = {"cpu": "Processor", "cores": cores, "memory_gib": 8, "file_system": "ext4"}
    content = {
        "machine_info": machine | {"system": "Linux", "python": "3.12", "versions": {}},
        "commit_info": {"id": "c" * 40, "dirty": True},
        "benchmarks": [{"name": "test_speed", "extra_info": {"figures": [figure]}}],
        "datetime": f"2026-03-{day:02}T00:00:00+00:00",
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def a(tmp_path):
    return write(tmp_path / "a.json", 100.0)


@pytest.fixture
def history(tmp_path):
    for day in range(1, 9):
        path = write(tmp_path / "history" / f"{day}.json", 100.0 if day < 5 else 130.0, day=day)
    return path.parent


def test_a_run_that_is_as_good_passes(qpibench, a, tmp_path):
    outcome = qpibench("bench", "compare", a, write(tmp_path / "b.json", 101.0))
    assert outcome.exit_code == 0
    assert outcome.stdout.splitlines()[1].split() == [
        *("speed.ratio", "x", "100", "[99,", "101]", "101", "[99.99,", "102]", "1.010", "same")
    ]


def test_a_run_that_fell_has_exit_code_5_and_its_table(qpibench, a, tmp_path):
    b = write(tmp_path / "b.json", 80.0)
    outcome = qpibench("bench", "compare", a, b)
    outcome.fails(5, "speed.ratio from 100 to 80 x")
    assert "fell" in outcome.stdout
    outcome = qpibench("bench", "compare", a, b, "--json")
    outcome.fails(5, "speed.ratio")
    (found,) = outcome.json["figures"]
    assert (found["verdict"], found["better"], found["change"]) == ("fell", "higher", 0.8)
    assert found["first"] == {"value": 100.0, "low": 99.0, "high": 101.0, "rounds": 9}


def test_another_machine_is_pointed_out(qpibench, a, tmp_path):
    outcome = qpibench("bench", "compare", a, write(tmp_path / "b.json", 101.0, cores=64))
    assert outcome.exit_code == 0
    assert "only ratios are compared" in outcome.stdout


@pytest.mark.parametrize("text", ["{}", "speed: 3", '{"machine_info": 3, "benchmarks": []}'])
@pytest.mark.parametrize("command", ["compare {a} {bad}", "compare {bad} {a}", "report {folder} -o {site}"])
def test_a_file_that_is_no_run_has_exit_code_3(qpibench, a, tmp_path, unchanged, text, command):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    places = {"a": a, "bad": bad, "folder": tmp_path, "site": tmp_path / "site"}
    with unchanged():
        qpibench("bench", *(part.format(**places) for part in command.split()), "--json").fails(3, "bad.json")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("compare {a} {missing}", ["missing.json", "No such file"]),
        ("compare {a}", ["Missing argument 'B'"]),
        ("compare {a} {other}", ["no ratio in common"]),
        ("report {missing} -o {site}", ["There is no folder"]),
        ("report {empty} -o {site}", ["holds no benchmark run"]),
        ("report {history}", ["--output"]),
        ("report {history} -o {a}", ["a.json' is not a folder"]),
        ("draw", ["no command 'draw'", "report, compare"]),
    ],
)
def test_a_request_that_cannot_be_granted_has_exit_code_2(qpibench, a, history, tmp_path, unchanged, command, words):
    (tmp_path / "empty").mkdir()
    other = write(tmp_path / "other.json", 1.0, name="other")
    places = {"a": a, "missing": tmp_path / "missing.json", "other": other, "history": history}
    places |= {"empty": tmp_path / "empty", "site": tmp_path / "site"}
    with unchanged():
        qpibench("bench", *(part.format(**places) for part in command.split()), "--json").fails(2, *words)


def test_without_ruptures_the_report_has_exit_code_4(qpibench, history, tmp_path, unchanged, monkeypatch):
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with unchanged():
        qpibench("bench", "report", history, "-o", tmp_path / "site", "--json").fails(4, "qpibench[bench]")


def test_a_report_names_the_page_and_the_steps(qpibench, history, tmp_path):
    pytest.importorskip("ruptures")
    page = tmp_path / "site" / "index.html"
    outcome = qpibench("bench", "report", history, "-o", page.parent)
    assert outcome.stdout == f"{page}: 8 runs on 1 machine, 1 step\n"
    (step,) = qpibench("bench", "report", history, "-o", page.parent, "--json").json["steps"]
    assert (step["figure"], step["before"], step["after"]) == ("speed.ratio", 100.0, 130.0)
    assert (step["commit"], step["since"]) == ("ccccccc+", "2026-03-05T00:00:00+00:00")
    assert "speed.ratio" in page.read_text()
