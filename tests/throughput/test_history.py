"""A run of the benchmarks is read completely, or refused in one sentence."""

import json

import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.throughput.history import Wanted, load_history, load_run


def test_a_run_has_its_figures_and_what_measured_them(write_run, figure):
    run = load_run(write_run(figure(), figure("speed.seconds", 2.0, 0.1, unit="s", at_most=1.5), day=3))
    assert list(run.figures) == ["speed.ratio", "speed.seconds"]
    assert run.benchmark["speed.ratio"] == "test_speed[fast]"
    assert (run.figures["speed.ratio"].low, run.figures["speed.ratio"].high) == (99, 101)
    assert (run.figures["speed.ratio"].is_met, run.figures["speed.seconds"].is_met) == (None, False)
    assert (run.commit, run.measured.day) == ("0000003", 4)


def test_a_figure_that_was_not_measured_is_empty_and_keeps_its_target_and_the_reason(write_run, figure):
    wanted = {"name": "cuda.rate", "what": "rate", "unit": "images/s", "at_least": 1.5e6}
    run = load_run(write_run(figure(), not_measured=[{**wanted, "benchmark": "test_cuda", "reason": "no device"}]))
    assert "cuda.rate" not in run.figures
    assert [(each.name, each.at_least, each.reason) for each in run.not_measured] == [("cuda.rate", 1.5e6, "no device")]


@pytest.mark.parametrize(
    ("fields", "higher"),
    [
        ({"unit": "x"}, True),
        ({"unit": "s"}, False),
        ({"unit": "bytes/s"}, True),
        ({"unit": "x", "at_most": 1.3}, False),
        ({"unit": "s", "at_least": 1.0}, True),
        ({"unit": "x", "better": "lower"}, False),
    ],
    ids=str,
)
def test_whether_more_is_better_follows_from_the_statement_the_target_or_the_unit(fields, higher):
    assert Wanted(name="speed", what="speed", **fields).higher_is_better is higher


def test_the_history_is_by_machine_and_in_the_order_of_time(write_run, figure, machine):
    for day in (2, 0, 1):
        write_run(figure(), day=day, name=f"{'bca'[day]}.json")
    gpu = {"name": "H200", "capability": 90, "memory_gib": 140, "cuda": "13.0", "driver": None}
    write_run(figure(), machine=machine | {"gpu": gpu}, name="gpu.json")
    write_run(figure(), machine=machine | {"versions": {"numpy": "3"}}, day=3, name="later.json")
    history = load_history(write_run(figure(), machine=machine | {"cores": 4}, name="four.json").parent)
    assert {name: [run.measured.day for run in runs] for name, runs in history.items()} == {
        "Processor, 2 cores, H200, files on ext4": [1],
        "Processor, 2 cores, files on ext4": [1, 2, 3, 4],
        "Processor, 4 cores, files on ext4": [1],
    }


def changed(*path, value):
    def change(content):
        for part in path[:-1]:
            content = content[part]
        content[path[-1]] = value

    return change


FIGURE = ("benchmarks", 0, "extra_info", "figures", 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.clear(), "no machine_info and benchmarks"),
        (changed(*FIGURE, "high", value=1.0), "low <= value <= high"),
        (changed(*FIGURE, "value", value=float("nan")), "finite"),
        (changed(*FIGURE, "colour", value="red"), "colour"),
        (changed(*FIGURE, "rounds", value=0), "rounds"),
        (changed("datetime", value="yesterday"), "datetime"),
        (changed("machine_info", value={"node": "host"}), "machine_info"),
        (lambda content: content["benchmarks"].append(content["benchmarks"][0]), "'speed.ratio' twice"),
        (changed("benchmarks", value=[]), "none of its benchmarks has figures"),
    ],
)
def test_a_file_that_is_no_run_is_refused_and_named(write_run, figure, change, words):
    path = write_run(figure())
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidDataError, match=words) as error:
        load_run(path)
    assert path.name in str(error.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", "\xff"])
def test_text_that_is_no_run_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidDataError, match=r"run\.json' is not a benchmark run"):
        load_run(tmp_path / "run.json")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"run\.json' cannot be read"):
        load_run(tmp_path / "run.json")
    with pytest.raises(UsageError, match="There is no folder"):
        load_history(tmp_path / "history")
    with pytest.raises(UsageError, match="holds no benchmark run"):
        load_history(tmp_path)
