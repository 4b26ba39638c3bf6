"""A result file is closed and versioned, says what is wrong with it, and is compared number by number."""

import json
import os

import pytest
from pydantic import ValidationError

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.result import (
    HIGHER_IS_BETTER,
    PRIMARY_METRIC,
    Metrics,
    Result,
    compare_results,
    load_result,
    result_schema,
    save_result,
)

METRICS = [
    "mae",
    "mse",
    "rmse",
    "mae_published",
    "mse_published",
    "rmse_published",
    "rel_l2_mean",
    "rel_l2_median",
    "rel_l2_q90",
    "rel_l2_capped",
    "failure_rate",
    "ssim",
    "psnr",
]


def content():
    """A valid result as it lies in a file."""
    interval = {"value": 0.1 + 0.2, "low": 1 / 7, "high": 2 / 3}
    return {
        "schema_version": 1,
        "evaluator_version": "0.1.0",
        "status": "complete",
        "failure": None,
        "visibility": "public",
        "release": {
            "name": "paper",
            "content_sha256": "a" * 64,
            "spec_sha256": "b" * 64,
            "observation_count": 50_000,
            "kernel_count": 100,
            "grid": {"ny": 64, "nx": 64, "size_y_nm": 10.0, "size_x_nm": 10.0},
        },
        "model": {
            "name": "zeros",
            "file_sha256": "c" * 64,
            "code_sha256": "e" * 64,
            "weights": {"zeros.npz": "d" * 64},
            "knows": ["eq7"],
            "needs": ["raster"],
            "trained_on": [],
            "training": None,
        },
        "view": "positions",
        "map_mode": "paper",
        "cell": None,
        "predictions_sha256": "e" * 64,
        "intervals": {"level": 0.95, "method": "bootstrap", "replicates": 2000, "seed": 0},
        "tasks": {
            "ood": {
                "metrics": {name: dict(interval) for name in METRICS},
                "n_images": 20,
                "n_available": 100,
                "subset": True,
                "n_failed": 3,
                "n_kernels": 10,
                "predict_seconds": 2.5,
                "by_scatterers": [
                    {
                        "min_scatterers": 1,
                        "max_scatterers": 2,
                        "n_images": 20,
                        "n_kernels": 10,
                        "rel_l2_capped": dict(interval),
                    }
                ],
                "by_fold": [{"fold": 0, "n_images": 20, "n_kernels": 10, "rel_l2_capped": dict(interval)}],
            }
        },
        "prediction_run": {"seconds": 1.5, "peak_memory_bytes": 2**30, "environment": {"python": "3.11"}},
        "scoring_run": {"seconds": 0.5, "peak_memory_bytes": None, "environment": {}},
    }


def changed(path, value):
    """The valid result with one field changed; the path has dots."""
    result = content()
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
    assert stored == content()
    assert stored["tasks"]["ood"]["metrics"]["mae"] == {"value": 0.1 + 0.2, "low": 1 / 7, "high": 2 / 3}


def test_the_metrics_are_those_that_were_promised():
    assert list(Metrics.model_fields) == METRICS
    assert set(METRICS) > HIGHER_IS_BETTER
    assert PRIMARY_METRIC in METRICS


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
        ("tasks.ood.metrics.mae.value", 1e9, "low <= value <= high"),
        ("tasks.ood.metrics.mae.value", None, "tasks.ood.metrics.mae.value"),
        ("tasks.ood.metrics.mae.value", "0.3", "tasks.ood.metrics.mae.value"),
        ("tasks.ood.metrics.extra", {"value": 0, "low": 0, "high": 0}, "unknown field 'tasks.ood.metrics.extra'"),
        ("tasks.ood.n_failed", 21, "n_failed <= n_images"),
        ("tasks.ood.n_images", 101, "n_images <= n_available"),
        ("tasks.ood.subset", False, "20 of 100 images"),
        ("tasks", {}, "tasks"),
        ("release.content_sha256", "abc", "release.content_sha256"),
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
        (b'{"schema_version": 2}', "schema_version 2"),
        (b'{"schema_version": 1}', "evaluator_version"),
    ],
)
def test_a_file_that_is_no_result_of_this_version_is_refused(tmp_path, text, message):
    (tmp_path / "bad.json").write_bytes(text)
    with pytest.raises(InvalidDataError, match=message):
        load_result(tmp_path / "bad.json")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, constant):
    text = json.dumps(changed("tasks.ood.metrics.psnr.high", "HERE")).replace('"HERE"', constant)
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
        result_of(content()).view = "image"


def test_a_result_agrees_with_itself_and_with_another_scoring_run():
    result = result_of(content())
    assert compare_results(result, result) == []
    assert compare_results(result, result_of(changed("scoring_run.seconds", 99.0))) == []


def test_numbers_agree_within_the_tolerance_only():
    stored = result_of(content())
    for factor, differences in ((1 + 1e-12, 0), (1 + 1e-8, 1)):
        derived = result_of(changed("tasks.ood.metrics.mae.value", (0.1 + 0.2) * factor))
        assert len(compare_results(stored, derived)) == differences
    assert compare_results(stored, derived, tolerance=1e-6) == []


def test_zero_agrees_with_zero_only():
    zero = {"value": 0.0, "low": 0.0, "high": 0.0}
    stored = result_of(changed("tasks.ood.metrics.mae", zero))
    derived = result_of(changed("tasks.ood.metrics.mae", zero | {"high": 1e-12}))
    assert compare_results(stored, stored) == []
    assert len(compare_results(stored, derived)) == 1


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("predictions_sha256", "f" * 64, "predictions_sha256"),
        ("release.content_sha256", "f" * 64, "release.content_sha256"),
        ("model.weights", {"zeros.npz": "0" * 64}, "model.weights.zeros.npz"),
        ("model.weights", {}, "model.weights.zeros.npz"),
        ("model.knows", [], "model.knows"),
        ("tasks.ood.n_kernels", 11, "tasks.ood.n_kernels"),
        ("tasks.ood.by_fold.0.fold", 2, "tasks.ood.by_fold[0].fold"),
        ("evaluator_version", "0.2.0", "evaluator_version"),
    ],
)
def test_a_difference_is_named_by_its_field(path, value, named):
    (difference,) = compare_results(result_of(content()), result_of(changed(path, value)))
    assert difference.startswith(f"{named} is ")


def test_a_task_that_is_missing_is_named():
    both = content()
    both["tasks"]["id"] = both["tasks"]["ood"]
    assert compare_results(result_of(both), result_of(content())) == ["tasks.id is only in the stored result."]


def test_a_result_from_before_trained_models_still_loads(tmp_path):
    fields = content()
    del fields["model"]["training"]
    path = tmp_path / "result.json"
    path.write_text(json.dumps(fields))
    assert load_result(path) == result_of(content())
