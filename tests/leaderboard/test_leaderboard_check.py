"""A result is believed when its numbers fit each other, and proven when its predictions score the same again."""

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.entries import file_sha256, shipped_entries
from qpibench.evaluation.prediction_record import Record
from qpibench.evaluation.predictions_writer import PredictionsWriter
from qpibench.evaluation.result import CellRecord, ModelRecord, Run
from qpibench.evaluation.result_file import save_result
from qpibench.evaluation.score import score
from qpibench.grid import Grid
from qpibench.leaderboard.check import check_result
from qpibench.release import open_release, write_imported
from qpibench.specs import ImportedSpec
from qpibench.synthesis.contract import Kernels, Observations
from qpibench.tasks.track import load_track

BOARD = Path(__file__).parents[2] / "docs/board/results"


@pytest.fixture
def edited(tmp_path, make_result):
    """A result file with some fields of its only part changed; the cell has the metrics of its part."""

    def write(*changes):
        path = tmp_path / "result.json"
        save_result(make_result(), path)
        content = json.loads(path.read_text())
        for field, value in changes:
            *parents, last = field.split(".")
            place = content["cells"]["ood"]["parts"][0]
            for name in parents:
                place = place[int(name)] if isinstance(place, list) else place[name]
            place[last] = value
        cell = content["cells"]["ood"]
        cell["metrics"] = cell["parts"][0]["metrics"]
        path.write_text(json.dumps(content))
        return path

    return write


def median_of(error):
    """A median image of one black pixel with this error."""
    return {"observation": 7, "error": error, "ny": 1, "nx": 1, "pixels": "eJxjYGAAAAADAAE="}


ONE_LESS = [("n_images", 199), *((f"breakdowns.{name}.0.n_images", 199) for name in ("scatterers", "stratum"))]


def exactly(value):
    return {"value": value, "low": value, "high": value}


def test_a_consistent_result_passes(edited):
    assert check_result(edited())[0].model.name == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("breakdowns.stratum.0.n_images", 199)], "by stratum have 199 images, not 200"),
        (
            [("breakdowns.scatterers.0.metrics.rel_l2_capped", exactly(0.1))],
            "by scatterers have a mean rel_l2_capped of 0.1",
        ),
        ([("metrics.mae", exactly(0.5))], "mae is 0.5, larger than rmse"),
        ([("metrics.rmse", exactly(0.3))], "the square of rmse"),
        ([("metrics.rel_l2_median", exactly(0.9))], "rel_l2_median is 0.9, larger than rel_l2_q90"),
        ([("metrics.ssim", exactly(1.5))], "ssim is 1.5, larger than 1"),
        ([("metrics.mse", exactly(-1.0))], "mse is -1.0, less than 0"),
        ([("metrics.colour", exactly(1.0))], "there is no metric colour"),
        ([("n_failed", 3)], "failure_rate 0.0 does not fit 3 failed of 200 images"),
        ([("n_kernels", 101)], "101 kernels in a release of 100"),
        ([("n_available", 60_000)], "60000 images in a release of 50000"),
        ([("breakdowns.stratum.0.n_kernels", 19)], "by stratum have 19 kernels, not 20"),
        ([("breakdowns.scatterers.0.n_kernels", 21)], "by scatterers has 21 kernels"),
        ([("breakdowns.stratum.0.metrics", {"mae": exactly(0.1)})], "by stratum has no rel_l2_capped"),
        ([("breakdowns", {})], "the groups by stratum are missing"),
        ([("metrics.rel_l2_capped.low", -0.1)], "the lower end of rel_l2_capped is -0.1, less than 0"),
        ([("metrics.failure_rate", exactly(0.5))], "failure_rate is 0.5, larger than rel_l2_capped"),
        ([("view", "telepathy")], "There is no view 'telepathy'"),
        ([("view", "raster"), ("map_mode", None)], "The view 'raster' shows an activation map"),
        ([("view", "oracle")], "the view is that of an oracle, but the entry does not declare"),
        ([("median_image", median_of(0.5))], "the median image has the error 0.5, but rel_l2_median is 0.13"),
        ([("median_image", median_of(0.1)), *ONE_LESS], "the median image has the error 0.1, but rel_l2_median"),
        ([("predict_seconds", 99.0)], "the calls of predict took longer than predicting took in all, 15.0 s"),
    ],
)
def test_numbers_that_contradict_each_other_are_named(edited, changes, message):
    with pytest.raises(InvalidDataError, match=message) as error:
        check_result(edited(*changes))
    assert "result.json" in str(error.value)


def floor_of(metrics, added):
    """A floor of the values of these metrics, whose intervals have no width."""
    return {"metrics": {name: exactly(value) for name, value in metrics.items()}, "added": added}


MAE, PSNR = 0.0123456789, 27.182818284
ADDED = {"mae": exactly(MAE - 0.005), "psnr": exactly(PSNR - 40)}
FLOOR = floor_of({"mae": 0.005, "psnr": 40.0, "rel_l2_median": 0.1}, ADDED)


@pytest.fixture
def with_floor(edited):
    """A result file whose part and cell have these floors."""

    def write(of_part, of_cell=None):
        path = edited(("floor", of_part))
        content = json.loads(path.read_text())
        content["cells"]["ood"]["floor"] = of_cell or of_part
        path.write_text(json.dumps(content))
        return path

    return write


def test_a_floor_that_agrees_with_the_scores_passes(with_floor):
    assert check_result(with_floor(FLOOR))[0].cells["ood"].floor.added["psnr"].value < 0


@pytest.mark.parametrize(
    ("floor", "message"),
    [
        (floor_of({"mae": 0.004, "psnr": 40.0}, ADDED), "floor: mae is 0.004 and .* is added, but the score is 0.0123"),
        (floor_of({"mae": -0.1}, {"mae": exactly(MAE + 0.1)}), "floor: mae is -0.1, less than 0"),
        (
            floor_of({"mae": 0.005}, {}),
            "floor: mae must be both a mean over images in the floor and an added error, or neither",
        ),
        (floor_of({"rel_l2_median": 0.1}, {"rel_l2_median": exactly(0.1)}), "floor: rel_l2_median must be both"),
        (
            floor_of({"rel_l2_median": 0.3, "rel_l2_q90": 0.2}, {}),
            "floor: rel_l2_median is 0.3, larger than rel_l2_q90",
        ),
        (floor_of({"failure_rate": 0.0012}, {"failure_rate": exactly(-0.0012)}), "floor: failure_rate 0.0012 does not"),
        (floor_of({"colour": 0.1}, {}), "floor: there is no metric colour"),
    ],
)
def test_a_floor_that_contradicts_the_scores_is_named(with_floor, floor, message):
    with pytest.raises(InvalidDataError, match=message):
        check_result(with_floor(floor))


def test_the_floor_of_a_cell_is_that_of_its_parts(with_floor):
    for of_part, message in ((None, "it has a floor and its parts have none"), (FLOOR, "the parts have the mean 40.0")):
        other = floor_of({"mae": 0.005, "psnr": 39.0, "rel_l2_median": 0.1}, ADDED)
        with pytest.raises(InvalidDataError, match=message):
            check_result(with_floor(of_part, other))


@pytest.mark.parametrize("needs", [("raster",), ("positions",), ("raster", "positions")])
def test_an_entry_that_needs_the_scatterers_cannot_have_answered_without_them(make_result, tmp_path, needs):
    save_result(make_result(view="image", needs=needs), tmp_path / "result.json")
    with pytest.raises(InvalidDataError, match=f"needs {' or '.join(needs)} and was shown the view image"):
        check_result(tmp_path / "result.json")


@pytest.mark.parametrize("needs", [(), ("image",)])
def test_an_entry_that_needs_no_scatterers_may_be_shown_the_image(make_result, tmp_path, needs):
    save_result(make_result(view="image", needs=needs), tmp_path / "result.json")
    assert check_result(tmp_path / "result.json")[0].cells["ood"].view == "image"


@pytest.mark.parametrize(
    ("claim", "view", "message"),
    [
        ({}, "positions", "paper/ood has view raster and map paper"),
        ({}, "raster", "paper/ood is on other releases: paper"),
        ({"size": 5}, "raster", "paper/ood has the primary metric rel_l2_capped and the size 500"),
        ({"cell": "id"}, "raster", "paper/id has the task id"),
        ({"cell": "odd"}, "raster", "the track paper has no cell odd"),
        ({"track_sha256": "0" * 64}, "raster", "the track paper is another one"),
    ],
)
def test_a_result_cannot_claim_a_cell_that_asks_something_else(make_result, tmp_path, claim, view, message):
    cell = CellRecord.of(load_track("paper"), "ood").model_copy(update=claim)
    result = make_result(view=view, tasks=("ood",))
    of_cell = result.cells["ood"].model_copy(update={"record": cell})
    save_result(result.model_copy(update={"cells": {cell.cell: of_cell}}), tmp_path / "result.json")
    with pytest.raises(InvalidDataError, match=message):
        check_result(tmp_path / "result.json")


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"size": 5}, "own/odd has 5 images of a release, but 200 were scored"),
        ({"metrics": ("rel_l2_capped", "hue")}, "own/odd scores hue too"),
    ],
)
def test_a_result_keeps_to_its_cell_of_a_track_that_is_not_shipped(make_result, tmp_path, claim, message):
    fields = {"track": "own", "track_sha256": "0" * 64, "cell": "odd", "primary": "rel_l2_capped", "size": None}
    of_cell = make_result().cells["ood"].model_copy(update={"record": CellRecord(**fields | claim)})
    save_result(make_result().model_copy(update={"cells": {"odd": of_cell}}), tmp_path / "result.json")
    with pytest.raises(InvalidDataError, match=message):
        check_result(tmp_path / "result.json")


def without_robust(content):
    content["cells"] = {name: cell for name, cell in content["cells"].items() if not name.startswith("robust/")}


def with_a_reason_for_another_cell(content):
    content["not_applicable"]["nosuch/cell"] = "None."


def of_a_smaller_limit(content):
    content["suite"]["limit"] = 5


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (without_robust, "cells of the suite v1 have neither scores nor a reason: robust/reference, robust/position"),
        (with_a_reason_for_another_cell, "the suite v1 has no cell nosuch/cell"),
        (of_a_smaller_limit, "cell paper/id: the suite was limited to 5 images of a release, but 500 were scored"),
    ],
)
def test_a_result_of_a_shipped_suite_has_its_cells_and_its_number_of_images(tmp_path, edit, message):
    content = json.loads((BOARD / "polar.json").read_text())
    edit(content)
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(InvalidDataError, match=message):
        check_result(tmp_path / "result.json")


def test_an_unfinished_result_of_a_suite_may_lack_cells(tmp_path):
    content = json.loads((BOARD / "polar.json").read_text())
    without_robust(content)
    (tmp_path / "result.json").write_text(json.dumps(content | {"status": "unfinished"}))
    assert check_result(tmp_path / "result.json")[0].status == "unfinished"


@pytest.mark.parametrize("changes", [{"view": "image"}, {"map_mode": "exact"}])
def test_parts_of_the_same_predictions_differ_in_their_task_only(make_result, tmp_path, changes):
    result = make_result(tasks=("id", "ood"))
    (part,) = result.cells["ood"].parts
    cell = result.cells["ood"].model_copy(update={"parts": (part.model_copy(update=changes),)})
    save_result(result.model_copy(update={"cells": result.cells | {"ood": cell}}), tmp_path / "result.json")
    with pytest.raises(InvalidDataError, match="of the same predictions"):
        check_result(tmp_path / "result.json")


BOARD = Path(__file__).parents[2] / "docs" / "board" / "results"


@pytest.fixture
def of_a_training(tmp_path):
    """The result file of a trained entry of the board with some fields of its model changed."""

    def write(**changes):
        content = json.loads((BOARD / "two_step.json").read_text())
        model = content["model"]
        model |= {name: value for name, value in changes.items() if name in model}
        model["training"] = model["training"] and model["training"] | changes.get("steps", {})
        path = tmp_path / "result.json"
        path.write_text(json.dumps(content))
        return path

    return write


def test_an_unchanged_result_of_a_training_passes(of_a_training):
    expected = json.loads((BOARD / "two_step.json").read_text())["model"]["training"]["steps_done"]
    assert check_result(of_a_training())[0].model.training.steps_done == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": None}, "has the name of a training run, but no record of its training"),
        ({"training": None, "name": "two_step"}, "is a shipped entry that is trained, but has no record"),
        (
            {"training": None, "name": "mine", "file_sha256": file_sha256(shipped_entries()["two_step"])},
            "is a shipped entry that is trained, but has no record",
        ),
        ({"weights": {}}, "has a record of its training, but no weights"),
        (
            {"steps": {"steps_done": 8, "fraction": 0.5}},
            "8 of 128000 training steps are the fraction 6.25e-05, not 0.5",
        ),
        ({"steps": {"steps_done": 0, "fraction": 1.0}}, "no training step was done, but the fraction is 1.0"),
        ({"steps": {"seed": 3}}, "was trained with the seed 3"),
    ],
)
def test_a_record_of_training_that_is_missing_or_edited_is_refused(of_a_training, changes, message):
    with pytest.raises(InvalidDataError, match=message):
        check_result(of_a_training(**changes))


def test_predictions_and_release_are_needed_together(edited, tmp_path):
    with pytest.raises(UsageError, match="the release is missing"):
        check_result(edited(), predictions=[tmp_path / "p.h5"])
    with pytest.raises(UsageError, match="the predictions file is missing"):
        check_result(edited(), releases=[tmp_path / "r.h5"])


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Paths of a small release, of predictions for it and of their result."""
    folder = tmp_path_factory.mktemp("scored")
    rng = np.random.default_rng(5)
    grid = Grid(ny=9, nx=8, size_y_nm=4.0, size_x_nm=3.5)
    unknown = np.full(4, np.nan)
    kernels = Kernels(
        image=rng.random((4, *grid.shape), dtype=np.float32),
        family=np.full(4, b"eq7", dtype="S16"),
        parameters={
            "fold": np.array([2, 2, 4, 4], dtype=np.int32),
            "phi1": unknown,
            "B": unknown,
            "phi2": unknown,
            "C": unknown,
        },
    )
    observations = Observations(
        image=rng.random((40, *grid.shape), dtype=np.float32),
        kernel=np.repeat(np.arange(4, dtype=np.int32), 10),
        n_scatterers=np.full(40, 2, dtype=np.int32),
        position_nm=rng.uniform(-1, 1, (40, 2, 2)),
    )
    spec = ImportedSpec(name="small", files_sha256=("0" * 64,), axis_order="x_first", grid=grid)
    write_imported(spec, folder / "release.h5", kernels, observations)
    record = Record(
        model=ModelRecord(name="noisy", file_sha256=None, weights={}, knows=(), needs=(), trained_on=()),
        view="image",
        map_mode="paper",
        limit=None,
        seed=0,
        batch_size=32,
        failure=None,
        non_finite={},
        fit_seconds=None,
        task_seconds={},
        run=Run(seconds=1.0, peak_memory_bytes=None, environment={}),
    )
    with open_release(folder / "release.h5") as release:
        index = {task: release.split(task, "test") for task in release.tasks}
        for name, noise in (("predictions.h5", 0.1), ("others.h5", 0.2)):
            with PredictionsWriter(
                folder / name, release_sha256=release.content_sha256, index=index, grid=grid
            ) as writer:
                for task, rows in index.items():
                    truth = release.kernels.image[release.observation_kernel[rows]]
                    answer = truth + noise * rng.standard_normal(truth.shape)
                    writer.write(task, 0, {"kernel": answer.astype(np.float32)})
                writer.finish(record)
        save_result(score(folder / "predictions.h5", release), folder / "result.json")
    return folder


def test_a_result_is_rederived_from_its_predictions(scored):
    result, derived = check_result(scored / "result.json", [scored / "predictions.h5"], [scored / "release.h5"])
    assert derived
    assert result.model.name == "noisy"


def rewritten(path, target, **attributes):
    """A copy of a predictions file with other root attributes; None removes one."""
    target.write_bytes(path.read_bytes())
    with h5py.File(target, "r+") as file:
        for name, value in attributes.items():
            del file.attrs[name]
            if value is not None:
                file.attrs[name] = value
    return target


def test_a_result_is_rederived_from_the_predictions_of_another_run_with_the_same_values(scored, tmp_path):
    with h5py.File(scored / "predictions.h5") as file:
        record = json.loads(file.attrs["record"])
    record |= {"task_seconds": {"id": 7.5}, "run": {"seconds": 99.0, "peak_memory_bytes": 5, "environment": {"a": "b"}}}
    again = rewritten(scored / "predictions.h5", tmp_path / "again.h5", record=json.dumps(record))
    assert check_result(scored / "result.json", [again], [scored / "release.h5"])[1]


@pytest.mark.parametrize("attributes", [{"format_version": 1}, {"format_version": None, "record": None}])
def test_a_result_that_names_the_hash_of_the_file_as_older_versions_did_is_rederived(scored, tmp_path, attributes):
    older = rewritten(scored / "predictions.h5", tmp_path / "older.h5", **attributes)
    with open_release(scored / "release.h5") as release:
        content = score(older, release, name="old", view="image").model_dump(mode="json")
    for cell in content["cells"].values():
        cell["parts"][0]["predictions_sha256"] = hashlib.sha256(older.read_bytes()).hexdigest()
    (tmp_path / "older.json").write_text(json.dumps(content))
    assert check_result(tmp_path / "older.json", [older], [scored / "release.h5"])[1]


def test_a_result_of_fewer_metrics_is_rederived_by_those(scored, tmp_path):
    with open_release(scored / "release.h5") as release:
        save_result(score(scored / "predictions.h5", release, metrics=["mae"]), tmp_path / "few.json")
    assert check_result(tmp_path / "few.json", [scored / "predictions.h5"], [scored / "release.h5"])[1]


def test_a_score_that_the_cell_asks_for_cannot_be_left_out(scored, tmp_path):
    fields = {"track": "own", "track_sha256": "0" * 64, "cell": "odd", "primary": "rel_l2_capped", "size": None}
    cell = CellRecord(**fields, metrics=("rel_l2_capped", "q_scored_share"))  # not missed without predictions
    with h5py.File(scored / "others.h5") as file:
        record = json.loads(file.attrs["record"])
    record["cell"] = cell.model_dump(mode="json")
    predictions = rewritten(scored / "others.h5", tmp_path / "predictions.h5", record=json.dumps(record))
    with h5py.File(predictions, "r+") as file:
        del file["id"]
    with open_release(scored / "release.h5") as release:
        content = score(predictions, release).model_dump(mode="json")
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    assert check_result(path, [predictions], [scored / "release.h5"])[1]
    for scores in (content["cells"]["odd"], content["cells"]["odd"]["parts"][0]):
        del scores["metrics"]["q_scored_share"]
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidDataError, match=r"metrics\.q_scored_share is only in the re-derived result"):
        check_result(path, [predictions], [scored / "release.h5"])


def test_a_number_that_the_predictions_do_not_score_is_named_with_both_values(scored, tmp_path):
    content = json.loads((scored / "result.json").read_text())
    task, cell = next(iter(content["cells"].items()))
    true = cell["metrics"]["psnr"]["value"]
    cell["metrics"]["psnr"] = cell["parts"][0]["metrics"]["psnr"] = exactly(99.5)
    (tmp_path / "better.json").write_text(json.dumps(content))
    with pytest.raises(InvalidDataError, match="is not what its predictions score") as error:
        check_result(tmp_path / "better.json", [scored / "predictions.h5"], [scored / "release.h5"])
    assert f"cells.{task}.metrics.psnr.value is 99.5 in the stored result and {true!r} re-derived" in str(error.value)


def test_predictions_of_another_hash_are_refused(scored):
    with pytest.raises(InvalidDataError, match="made from other predictions"):
        check_result(scored / "result.json", [scored / "others.h5"], [scored / "release.h5"])


def test_a_release_with_a_flipped_bit_proves_nothing(scored, tmp_path):
    content = bytearray((scored / "release.h5").read_bytes())
    with open_release(scored / "release.h5") as release:
        offset = release.arrays["kernels/image"].offset
    content[offset] ^= 1
    (tmp_path / "release.h5").write_bytes(content)
    with pytest.raises(InvalidDataError, match="other contents than its hash states"):
        check_result(scored / "result.json", [scored / "predictions.h5"], [tmp_path / "release.h5"])
