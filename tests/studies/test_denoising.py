"""One command compares entries behind filters with the entries alone, and goes on where it was interrupted."""

from __future__ import annotations

import pytest
from toy_study import written  # also puts benchmarks/ on the path

from benchmarks import denoising
from qpibench.evaluation.paired import Comparison

TRACK = """
summary = "ten images of mini"
[cells.noisy]
specs = [{spec = "mini", set = ["name=mini_noisy", "corruptions.white_noise.snr_db=20"]}]
task = "ood"
view = "raster"
map = "exact"
size = 2
primary = "rel_l2_capped"
metrics = ["rel_l2_capped", "mae"]
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Arguments for a small cell and one filter."""
    (tmp_path / "small.toml").write_text(TRACK, encoding="utf-8")
    monkeypatch.setattr(denoising, "TRACK", str(tmp_path / "small.toml"))
    monkeypatch.setattr(denoising, "CELL", "noisy")
    monkeypatch.setattr(denoising, "VARIANTS", {"wiener_box_heavy": ("wiener", "box", "heavy")})
    folders = {"--data": tmp_path / "data", "--work": tmp_path / "work", "-o": tmp_path / "compared"}
    return [*(str(part) for pair in folders.items() for part in pair), "--entries", "wiener"]


@pytest.mark.slow
def test_an_entry_behind_a_filter_is_compared_with_the_entry_alone(small, tmp_path, capsys):
    assert denoising.main(small) == 0
    comparison = Comparison.model_validate_json((tmp_path / "compared" / "denoised-wiener_box_heavy.json").read_text())
    assert [comparison.a[0].name, comparison.b[0].name] == ["denoised:wiener_box_heavy", "wiener"]
    assert comparison.tasks["ood"].n_images == 2
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["entry", "wiener", "wiener_box_heavy"]


@pytest.mark.slow
def test_what_was_evaluated_is_not_evaluated_again(small, tmp_path):
    assert denoising.main(small) == 0
    before = written(tmp_path / "work" / "predictions")
    assert denoising.main(small) == 0
    assert written(tmp_path / "work" / "predictions") == before


def test_a_failed_evaluation_is_said_and_ends_the_command(small, capsys):
    assert denoising.main([*small, "--limit", "0"]) == 1
    assert "Error: `qpibench evaluate wiener" in capsys.readouterr().err
