"""A result file is closed and versioned, says what is wrong with it, and is compared number by number."""

import copy
import json
import os

import pytest
from pydantic import ValidationError

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.result import PRIMARY_METRIC, CellRecord, Result
from qpibench.evaluation.result_differences import compare_results
from qpibench.evaluation.result_file import load_result, save_result
from qpibench.evaluation.result_schema import result_schema
from qpibench.tasks.track import load_track

METRICS = ["mae", "rel_l2_capped", "ssim", "psnr"]
RELEASE = {
    "name": "paper",
    "content_sha256": "a" * 64,
    "spec_sha256": "b" * 64,
    "observation_count": 50_000,
    "kernel_count": 100,
    "grid": {"ny": 64, "nx": 64, "size_y_nm": 10.0, "size_x_nm": 10.0},
}
MODEL = {
    "name": "zeros",
    "file_sha256": "c" * 64,
    "code_sha256": "e" * 64,
    "weights": {"zeros.npz": "d" * 64},
    "knows": ["eq7"],
    "needs": ["raster"],
    "trained_on": [],
    "training": None,
}
RUN = {"seconds": 1.5, "peak_memory_bytes": 2**30, "environment": {"python": "3.11"}}
INTERVAL = {"value": 0.1 + 0.2, "low": 1 / 7, "high": 2 / 3}
SETTINGS = {"level": 0.95, "method": "bootstrap", "replicates": 2000, "seed": 0}
COUNTS = {"n_images": 20, "n_kernels": 10}


def content():
    """A valid result as it lies in a file."""
    metrics = {name: dict(INTERVAL) for name in METRICS}
    group = {**COUNTS, "metrics": {"rel_l2_capped": dict(INTERVAL)}}
    part = {
        "release": copy.deepcopy(RELEASE),
        "task": "ood",
        "view": "positions",
        "map_mode": "paper",
        "told_species": None,
        "n_images": 20,
        "n_available": 100,
        "subset": True,
        "n_failed": 3,
        "n_kernels": 10,
        "failure": None,
        "metrics": metrics,
        "breakdowns": {
            "scatterers": [{"label": "1–2", "order": 1, **group}],
            "stratum": [{"label": "total", "order": 0, **group}],
        },
        "predictions_sha256": "e" * 64,
        "predict_seconds": 2.5,
        "threads": 1,
        "prediction_run": dict(RUN),
    }
    cell = {"record": None, "primary": "rel_l2_capped", "metrics": copy.deepcopy(metrics), "parts": [part]}
    return {
        "schema_version": 2,
        "evaluator_version": "0.1.0",
        "status": "complete",
        "visibility": "public",
        "model": copy.deepcopy(MODEL),
        "intervals": dict(SETTINGS),
        "cells": {"ood": cell},
        "scoring_run": {"seconds": 0.5, "peak_memory_bytes": None, "environment": {}},
    }


def content_of_schema_1():
    """The same as schema 1 had it."""
    group = {**COUNTS, "rel_l2_capped": dict(INTERVAL)}
    return {
        "schema_version": 1,
        "evaluator_version": "0.1.0",
        "status": "complete",
        "failure": None,
        "visibility": "public",
        "release": copy.deepcopy(RELEASE),
        "model": copy.deepcopy(MODEL),
        "view": "positions",
        "map_mode": "paper",
        "predictions_sha256": "e" * 64,
        "intervals": dict(SETTINGS),
        "tasks": {
            "ood": {
                "metrics": {name: dict(INTERVAL) for name in METRICS},
                "n_images": 20,
                "n_available": 100,
                "subset": True,
                "n_failed": 3,
                "n_kernels": 10,
                "predict_seconds": 2.5,
                "threads": 1,
                "by_scatterers": [{"min_scatterers": 1, "max_scatterers": 2, **group}],
                "by_fold": [{"fold": 0, **group}],
            }
        },
        "prediction_run": dict(RUN),
        "scoring_run": {"seconds": 0.5, "peak_memory_bytes": None, "environment": {}},
    }


PART, PLACE = "cells.ood.parts.0", "cells.ood.parts[0]"


def changed(path, value):
    """The valid result with one field changed; the path has dots."""
    return _changed(content(), path, value)


def _changed(result, path, value):
    *parents, last = path.split(".")
    place = result
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    place[last] = value
    return result


def result_of(fields):
    return Result.model_validate_json(json.dumps(fields))


def test_a_result_survives_its_file_in_full_precision(tmp_path):
    result = result_of(content())
    save_result(result, tmp_path / "result.json")
    assert load_result(tmp_path / "result.json") == result
    stored = json.loads((tmp_path / "result.json").read_text())
    cell = stored["cells"]["ood"]
    (part,) = cell["parts"]
    assert (part.pop("median_image"), part.pop("floor"), cell.pop("floor")) == (None, None, None)
    assert (part.pop("family"), stored.pop("suite"), stored.pop("not_applicable")) == (None, None, {})
    assert stored == content()
    assert stored["cells"]["ood"]["parts"][0]["metrics"]["mae"] == {"value": 0.1 + 0.2, "low": 1 / 7, "high": 2 / 3}


def test_the_schema_tells_every_metric_with_its_direction_and_bounds():
    for model in ("CellResult", "PartResult", "Group"):
        told = result_schema()["$defs"][model]["properties"]["metrics"]
        assert told["properties"].keys() == all_metrics().keys()
        assert told["additionalProperties"] == {"$ref": "#/$defs/Interval"}
    assert told["properties"]["psnr"]["description"].endswith("More is better, at most 150 dB.")
    assert told["properties"][PRIMARY_METRIC]["description"].endswith("Less is better, from 0 to 1.")


def test_every_field_of_the_schema_is_described_and_none_may_be_added():
    schema = result_schema()
    json.dumps(schema)
    for model in (schema, *schema["$defs"].values()):
        assert model["additionalProperties"] is False
        if model["title"] != "Grid":
            for name, field in model["properties"].items():
                assert field.get("description"), f"{model['title']}.{name}"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{PART}.metrics.mae.value", 1e9, "low <= value <= high"),
        (f"{PART}.metrics.mae.value", None, f"{PART}.metrics.mae.value"),
        (f"{PART}.metrics.mae.value", "0.3", f"{PART}.metrics.mae.value"),
        (f"{PART}.metrics.mae.middle", 0, f"unknown field '{PART}.metrics.mae.middle'"),
        (f"{PART}.n_failed", 21, "n_failed <= n_images"),
        (f"{PART}.n_images", 101, "n_images <= n_available"),
        (f"{PART}.subset", False, "20 of 100 images"),
        ("cells", {}, "cells"),
        ("cells.ood.primary", "mse", "primary is 'mse', which is not among the metrics"),
        ("cells.ood.primary", "best", "there is no metric 'best' to rank by"),
        ("cells.ood.parts", [], "cells.ood.parts"),
        (f"{PART}.task", "id", "cell 'ood' is called otherwise"),
        (f"{PART}.release.content_sha256", "abc", f"{PART}.release.content_sha256"),
        ("status", "failed", "does not fit"),
        ("visibility", "secret", "visibility"),
        ("comment", "hello", "unknown field 'comment'"),
    ],
)
def test_a_file_with_a_wrong_field_is_refused_and_the_field_named(tmp_path, path, value, message):
    (tmp_path / "bad.json").write_text(json.dumps(changed(path, value)))
    with pytest.raises(InvalidDataError) as error:
        load_result(tmp_path / "bad.json")
    assert "bad.json" in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "no schema_version"),
        (b"{}", "no schema_version"),
        (b'{"schema_version": 3}', "schema_version 3"),
        (b'{"schema_version": 2}', "evaluator_version"),
        (b'{"schema_version": 1}', "none of schema_version 1 .'tasks'"),
    ],
)
def test_a_file_that_is_no_result_of_this_version_is_refused(tmp_path, text, message):
    (tmp_path / "bad.json").write_bytes(text)
    with pytest.raises(InvalidDataError, match=message):
        load_result(tmp_path / "bad.json")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, constant):
    text = json.dumps(changed(f"{PART}.metrics.psnr.high", "HERE")).replace('"HERE"', constant)
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(InvalidDataError, match=r"psnr\.high"):
        load_result(tmp_path / "bad.json")


def test_a_missing_file_is_a_wrong_request(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.json"):
        load_result(tmp_path / "nowhere.json")


def test_a_missing_folder_is_a_wrong_request(tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        save_result(result_of(content()), tmp_path / "nowhere" / "result.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left on device"):
        save_result(result_of(content()), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_cannot_be_changed():
    with pytest.raises(ValidationError):
        result_of(content()).status = "failed"


def test_a_result_agrees_with_itself_and_with_another_scoring_run():
    result = result_of(content())
    assert compare_results(result, result) == []
    assert compare_results(result, result_of(changed("scoring_run.seconds", 99.0))) == []


def test_numbers_agree_within_the_tolerance_only():
    stored = result_of(content())
    for factor, differences in ((1 + 1e-12, 0), (1 + 1e-8, 1)):
        derived = result_of(changed(f"{PART}.metrics.mae.value", (0.1 + 0.2) * factor))
        assert len(compare_results(stored, derived)) == differences
    assert compare_results(stored, derived, tolerance=1e-6) == []


def test_zero_agrees_with_zero_only():
    zero = {"value": 0.0, "low": 0.0, "high": 0.0}
    stored = result_of(changed(f"{PART}.metrics.mae", zero))
    derived = result_of(changed(f"{PART}.metrics.mae", zero | {"high": 1e-12}))
    assert compare_results(stored, stored) == []
    assert len(compare_results(stored, derived)) == 1


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (f"{PART}.predictions_sha256", "f" * 64, f"{PLACE}.predictions_sha256"),
        (f"{PART}.release.content_sha256", "f" * 64, f"{PLACE}.release.content_sha256"),
        ("model.weights", {"zeros.npz": "0" * 64}, "model.weights.zeros.npz"),
        ("model.weights", {}, "model.weights.zeros.npz"),
        ("model.knows", [], "model.knows"),
        (f"{PART}.n_kernels", 11, f"{PLACE}.n_kernels"),
        (f"{PART}.breakdowns.stratum.0.order", 2, f"{PLACE}.breakdowns.stratum[0].order"),
        ("evaluator_version", "0.2.0", "evaluator_version"),
    ],
)
def test_a_difference_is_named_by_its_field(path, value, named):
    (difference,) = compare_results(result_of(content()), result_of(changed(path, value)))
    assert difference.startswith(f"{named} is ")


def test_a_cell_that_is_missing_is_named():
    both = content()
    both["cells"]["id"] = json.loads(json.dumps(both["cells"]["ood"]).replace('"ood"', '"id"'))
    assert compare_results(result_of(both), result_of(content())) == ["cells.id is only in the stored result."]


def test_a_result_of_schema_1_is_read_as_one_of_schema_2(tmp_path):
    fields = content_of_schema_1()
    del fields["model"]["training"]  # older than trained models
    path = tmp_path / "result.json"
    path.write_text(json.dumps(fields))
    assert load_result(path) == result_of(content())


def test_a_result_of_schema_1_may_be_of_a_cell_and_of_an_entry_that_stopped(tmp_path):
    fields = content_of_schema_1() | {"status": "failed"}
    fields["failure"] = {"kind": "raised", "message": "no", "task": "ood"}
    fields["cell"] = {"track": "own", "track_sha256": "0" * 64, "cell": "hard", "primary": "psnr", "size": 20}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(fields))
    ((name, cell),) = load_result(path).cells.items()
    assert (name, cell.primary, cell.record.label, cell.failed) == ("hard", "psnr", "own/hard", True)
    assert cell.parts[0].failure.message == "no"


@pytest.mark.parametrize(
    ("changes", "cell"),
    [
        ({}, "ood-positions"),
        ({"view": "raster"}, "ood"),
        ({"view": "image", "map_mode": None}, None),
        ({"map_mode": "exact"}, None),
        ({"tasks.ood.n_images": 499}, None),
        ({"release.spec_sha256": "d" * 64}, None),
    ],
)
def test_a_result_of_schema_1_stands_for_the_cell_of_the_published_track_that_asks_the_same(tmp_path, changes, cell):
    track = load_track("paper")
    fields = content_of_schema_1()
    fields["release"]["spec_sha256"] = track.cell("ood").specs[0].sha256
    fields["tasks"]["ood"] |= {"n_images": 500, "n_available": 10_000}
    for path, value in changes.items():
        _changed(fields, path, value)
    (tmp_path / "result.json").write_text(json.dumps(fields))
    (found,) = load_result(tmp_path / "result.json").cells.values()
    assert found.record is None
    assert found.stands_for == (None if cell is None else CellRecord.of(track, cell))


def test_a_result_of_schema_2_cannot_claim_to_stand_for_a_cell(tmp_path):
    record = CellRecord.of(load_track("paper"), "ood").model_dump(mode="json")
    (tmp_path / "result.json").write_text(json.dumps(changed("cells.ood.stands_for", record)))
    with pytest.raises(InvalidDataError, match=r"unknown field 'cells\.ood\.stands_for'"):
        load_result(tmp_path / "result.json")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("colour", "red", "unknown field 'colour'"),
        ("tasks.ood.colour", "red", "unknown field 'cells.ood.parts.0.colour'"),
        ("tasks.ood.by_fold.0.colour", "red", "breakdowns.stratum.0.colour"),
        ("tasks.ood.metrics.mae.value", 1e9, "low <= value <= high"),
        ("tasks", [], "none of schema_version 1"),
        ("tasks.ood.by_fold", 3, "none of schema_version 1"),
    ],
)
def test_a_wrong_field_of_schema_1_is_named(tmp_path, path, value, message):
    (tmp_path / "bad.json").write_text(json.dumps(_changed(content_of_schema_1(), path, value)))
    with pytest.raises(InvalidDataError) as error:
        load_result(tmp_path / "bad.json")
    assert message in str(error.value)
