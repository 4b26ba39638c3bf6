"""`generate` never overwrites a file by accident, and reports skipped work."""

from __future__ import annotations

import json
import shutil
from importlib import resources

import pytest


@pytest.mark.parametrize("options", [["--overwrite"], ["--resume", "--overwrite"], []])
def test_a_spec_is_not_replaced_by_its_release(qpibench, tmp_path, monkeypatch, unchanged, options):
    monkeypatch.chdir(tmp_path)
    shutil.copy(resources.files("qpibench.specs") / "mini.toml", "mine.toml")
    with unchanged():
        for output in ("mine.toml", "./mine.toml", tmp_path / "mine.toml"):
            qpibench("generate", "mine.toml", "-o", output, *options).fails(2, "mine.toml", "given twice")


def test_a_shipped_spec_may_lend_its_name_to_the_file(qpibench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert qpibench("generate", "mini", "-o", "mini", "--overwrite").exit_code == 0


@pytest.mark.parametrize("shard", [[], ["--shard", "1/1"]])
def test_no_rate_is_given_for_what_was_not_computed(qpibench, tmp_path, shard):
    generate = ["generate", "mini", "-o", tmp_path / "mini", *shard]
    first = qpibench(*generate, "--json").json
    assert first["evaluations_per_s"] == pytest.approx(first["evaluations"] / first["seconds"])
    again = qpibench(*generate, "--resume")
    assert "already complete" in again.stdout
    assert "evaluations/s" not in again.stdout
    assert qpibench(*generate, "--resume", "--json").json["evaluations_per_s"] is None


@pytest.mark.parametrize("name", ["source", '"source":', "name\\", "'", " "])
def test_a_release_of_any_name_is_read_back(qpibench, tmp_path, name):
    overrides = ["--set", f"name={json.dumps(name)}", "--set", "kernels.count=5", "--set", "observations_per_kernel=1"]
    assert qpibench("generate", "mini", *overrides, "-o", tmp_path / "release.h5").exit_code == 0
    assert qpibench("verify", tmp_path / "release.h5").exit_code == 0
    assert qpibench("info", tmp_path / "release.h5", "--json").json["name"] == name


def test_verify_says_that_all_hashes_match(qpibench, tmp_path):
    small = ["--set", "kernels.count=5", "--set", "observations_per_kernel=1"]
    assert qpibench("generate", "mini", *small, "-o", tmp_path / "release.h5").exit_code == 0
    assert qpibench("verify", tmp_path / "release.h5").stdout.endswith("\nAll hashes match.\n")
    again = qpibench("verify", tmp_path / "release.h5", "--regenerate").stdout
    assert again.endswith("\nAll hashes match, also those of the release made again.\n")


def test_the_schema_of_a_spec_is_printed(qpibench):
    schema = qpibench("schema", "spec").stdout
    assert qpibench("schema", "spec", "--json").json == {"schema_version": 2, **json.loads(schema)}
    assert json.loads(schema)["properties"]["observations_per_kernel"]["minimum"] == 1


def test_a_task_that_a_release_lacks_is_named_with_the_reason(qpibench, tmp_path):
    few = ["--set", "kernels.count=3", "--set", "kernels.folds=[2, 4]", "--set", "kernels.fold_counts={2=1, 4=2}"]
    outcome = qpibench("generate", "mini", *few, "-o", tmp_path / "few.h5")
    assert outcome.exit_code == 0
    assert "has no task 'ood': an OOD test needs two kernels of every fold, but of fold 2 there is" in outcome.stderr
    outcome = qpibench("generate", "mini", "--set", "observations_per_kernel=1", "-o", tmp_path / "one.h5")
    assert "has no task 'id': a share of 0.2 of 1 images of a kernel leaves no image for" in outcome.stderr
    unasked = ["--set", "splits.ood_kernels=0", "--set", "splits.id_test=0"]
    assert "Warning" not in qpibench("generate", "mini", *unasked, "-o", tmp_path / "none.h5").stderr
