"""The picture of a training log."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.image import imread

from qpibench.training.curves import draw_curves


def write_log(path, stages, *, steps=30, end=""):
    with path.open("w") as file:
        for stage in stages:
            for step in range(steps):
                parts = {"loss": 1 / (1 + step), "mse": 0.5 / (1 + step), "learning_rate": 1e-4, "seconds": 0.1}
                file.write(json.dumps({"stage": stage, "step": step, **parts}) + "\n")
                if step % 10 == 9:
                    file.write(json.dumps({"stage": stage, "step": step, "validation": 2 / step}) + "\n")
        file.write(end)


def picture_of(tmp_path, *arguments, **options):
    log, picture = tmp_path / "log.jsonl", tmp_path / "curves.png"
    write_log(log, *arguments, **options)
    draw_curves(log, picture)
    return imread(picture)


def test_every_stage_has_a_panel(tmp_path):
    one, two = (picture_of(tmp_path, stages) for stages in (["kernel"], ["kernel", "latent"]))
    assert two.shape[1] == 2 * one.shape[1]
    assert two.shape[0] == one.shape[0]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["curves.png", "log.jsonl"]


@pytest.mark.parametrize("end", ['{"stage": "ker', "[]\n", '{"stage": "kernel", "step": "ten", "loss": 1}\n', "\n\n"])
def test_a_line_that_is_none_is_left_out(tmp_path, end):
    whole = picture_of(tmp_path, ["kernel"])
    assert np.array_equal(picture_of(tmp_path, ["kernel"], end=end), whole)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_value_that_has_no_place_on_a_log_axis_is_no_obstacle(tmp_path, value):
    lines = [{"stage": "kernel", "step": 30, name: value} for name in ("loss", "validation")]
    picture_of(tmp_path, ["kernel"], end="".join(json.dumps(line) + "\n" for line in lines))
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps(lines[1]) + "\n")
    draw_curves(log, tmp_path / "curves.png")


def test_a_log_without_a_line_draws_nothing(tmp_path):
    draw_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    (tmp_path / "log.jsonl").write_text("")
    draw_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
