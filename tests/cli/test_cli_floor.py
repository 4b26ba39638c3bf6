"""The floor of an entry with an autoencoder is printed, and is in the JSON; it can be derived again."""

import json

import pytest

MODEL = """
import numpy as np

def predict(batch):
    return np.zeros(batch.image.shape, np.float32)

def autoencode(kernels):
    return 0.75 * kernels
"""


@pytest.fixture
def evaluate(qpibench, mini, write_model, tmp_path):
    def run(*options):
        model, files = write_model(MODEL), ("-o", tmp_path / "result.json", "--predictions", tmp_path / "p.h5")
        outcome = qpibench("evaluate", model, "--release", mini, "--limit", 4, *files, *options)
        assert outcome.exit_code == 0, outcome.stderr
        return outcome

    return run


def test_the_floor_is_printed_below_the_scores(evaluate):
    lines = evaluate().stdout.splitlines()
    (head,) = [place for place, line in enumerate(lines) if line.split() == ["floor", "+", "added", "id", "ood"]]
    assert lines[head + 1].split() == ["rel_l2_capped", *2 * ["0.250", "+", "0.750"]]
    assert any("floor + added = score" in line for line in lines)


def test_json_has_the_floor_of_every_cell_and_score_derives_it_again(evaluate, qpibench, mini, tmp_path):
    floors = {name: cell["floor"] for name, cell in evaluate("--json").json["cells"].items()}
    assert floors["ood"]["metrics"]["rel_l2_mean"]["value"] == pytest.approx(0.25)
    qpibench("score", tmp_path / "p.h5", "--release", mini, "-o", tmp_path / "again.json")
    again = json.loads((tmp_path / "again.json").read_text())["cells"]
    assert {name: cell["floor"] for name, cell in again.items()} == floors


def test_a_result_whose_floor_was_edited_is_found_out(evaluate, qpibench, mini, tmp_path):
    evaluate()
    content = json.loads((tmp_path / "result.json").read_text())
    for floor in (content["cells"]["id"]["floor"], content["cells"]["id"]["parts"][0]["floor"]):
        floor["metrics"]["rel_l2_median"]["low"] = floor["metrics"]["rel_l2_median"]["value"] = 0.01
    (tmp_path / "result.json").write_text(json.dumps(content))
    arguments = ("leaderboard", "check", tmp_path / "result.json")
    assert qpibench(*arguments).exit_code == 0  # nothing else in the result contradicts it
    outcome = qpibench(*arguments, "--predictions", tmp_path / "p.h5", "--release", mini)
    outcome.fails(3, "cells.id.floor.metrics.rel_l2_median.value is 0.01 in the stored result and 0.2")


def test_a_result_whose_floor_was_removed_is_found_out(evaluate, qpibench, mini, tmp_path):
    evaluate()
    content = json.loads((tmp_path / "result.json").read_text())
    content["cells"]["id"]["floor"] = content["cells"]["id"]["parts"][0]["floor"] = None
    (tmp_path / "result.json").write_text(json.dumps(content))
    files = ("--predictions", tmp_path / "p.h5", "--release", mini)
    qpibench("leaderboard", "check", tmp_path / "result.json", *files).fails(
        3, "cells.id.floor is only in the re-derived result"
    )


def test_entries_without_autoencoder_have_no_such_table(qpibench, mini, predictions, tmp_path):
    outcome = qpibench("score", predictions, "--release", mini, "-o", tmp_path / "zeros.json")
    assert "floor" not in outcome.stdout
