"""Rules that every metric follows, of the package or in a user's file, and the commands that show it."""

import io
import json
import math
import re
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest

from qpibench.cli.main import cli
from qpibench.cli.table import metrics_table
from qpibench.errors import InvalidDataError
from qpibench.evaluation.cells import cell_requests
from qpibench.evaluation.image_scores import score_images
from qpibench.evaluation.metrics import Case, Used, all_metrics, find_metrics
from qpibench.evaluation.paired import compare
from qpibench.evaluation.predict import predict
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.report import report
from qpibench.evaluation.result_file import load_result, save_result
from qpibench.evaluation.score import score
from qpibench.evaluation.statistics import bootstrap_intervals, statistic_of
from qpibench.grid import Grid
from qpibench.leaderboard.build import build_leaderboard
from qpibench.leaderboard.check import check_result
from qpibench.locator import locate
from qpibench.physics.q_vector import ring_wavevector

SHIPPED = list(all_metrics())
TOYS = ["worst_pixel", "energy_ratio", "within", "covered", "full_error", "unlike_what_was_seen"]
NAMES = SHIPPED + TOYS
GRID = Grid(ny=12, nx=9, size_y_nm=6.0, size_x_nm=4.0)
N = 8
USED = get_args(Used)


def case(noise=0.0, *, seed=0, rows=slice(None), uses=USED):
    """Random images, and predictions that are off by some noise."""
    rng = np.random.default_rng(seed)
    truth, observation, off = (rng.standard_normal((N, *GRID.shape)) for _ in range(3))
    position_nm = rng.uniform(-1, 1, (N, 3, 2))
    position_nm[::2, 2] = np.nan
    given = {"truth": truth, "observation": observation, "position_nm": position_nm}
    # Of the first images, the finder has the wavevectors of the formula; of the others it is not known.
    q = np.where(np.arange(N) < 3, ring_wavevector(GRID, truth), np.where(np.arange(N) < 5, 1.0, np.nan))
    given |= {"wavevector": q, "fold": np.array([0, 2, 3, 4, 6, -1, 2, 0])}
    told = rng.integers(0, 2, (N, 3))
    told[::2, 2] = -1
    given |= {"told_species": told, "species": np.where(rng.random((N, 3)) < 0.2, 1 - told, told)}
    given |= {"std": rng.random(truth.shape), "kernel_full": rng.random((N, 2 * GRID.ny - 1, 2 * GRID.nx - 1))}
    given["bound"] = np.array([0.1, np.inf, 1.0, 0.3, 0.2, np.nan, 0.3, 0.1])
    return Case(
        grid=GRID,
        prediction=(truth + noise * off)[rows],
        **{name: values[rows] for name, values in given.items() if name in uses},
    )


def uses(metric):
    return {name for column in metric.columns for name in column.uses}


def value(metric, of_case):
    columns = {column.name: column.measure(of_case) for column in metric.columns}
    kernel = np.arange(N) // 2
    return bootstrap_intervals({"it": statistic_of(metric, columns)}, kernel)["it"]


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_tells_what_it_is(name):
    (metric,) = find_metrics([name])
    assert metric.name == name
    assert name.isidentifier()
    assert re.fullmatch(r"[^\n]+\.", metric.description)
    assert metric.label
    assert metric.label == metric.label.strip()
    low, high = metric.bounds
    assert low < high
    assert math.isfinite(metric.best)
    assert metric.head.startswith(metric.label)
    direction = "Less" if metric.better == "lower" else "More"
    assert f"{direction if metric.nominal is None else f'Nearer to {metric.nominal:g}'} is better" in metric.sentence


@pytest.mark.parametrize("name", NAMES)
def test_columns_have_a_number_for_each_image_whatever_its_batch_mates_are(name):
    for column in find_metrics([name])[0].columns:
        whole = column.measure(case(0.3))
        assert (whole.shape, whole.dtype) == ((N,), np.float64)
        assert np.isfinite(whole).all()
        assert column.measure(case(0.3, rows=slice(3, 5))).tolist() == whole[3:5].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_columns_use_what_they_say_and_nothing_else(name):
    for column in find_metrics([name])[0].columns:
        assert column.measure(case(0.3, uses=column.uses)).tolist() == column.measure(case(0.3)).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_has_the_best_bound(name):
    (metric,) = find_metrics([name])
    if uses(metric) == {"truth"}:
        assert value(metric, case()).value == metric.best


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("noise", [1e-6, 0.1, 1.0, 1e4])
def test_the_bounds_hold(name, noise):
    (metric,) = find_metrics([name])
    for seed in range(3):
        found = value(metric, case(noise, seed=seed))
        assert metric.bounds[0] <= found.low <= found.value <= found.high <= metric.bounds[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_worse_prediction_has_a_worse_score_and_its_columns_are_worse(name):
    (metric,) = find_metrics([name])
    if uses(metric) != {"truth"}:
        return
    sign = 1 if metric.better == "higher" else -1
    near, far = case(0.01), case(3.0)
    assert sign * value(metric, near).value > sign * value(metric, far).value
    first = metric.columns[0]
    good, bad = (first.measure(each).mean() for each in (near, far))
    assert (bad > good) if first.worse == "higher" else (bad < good)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("noise", [1e-6, 0.1, 1.0, 1e4])
def test_a_metric_is_at_most_what_it_says(name, noise):
    (metric,) = find_metrics([name])
    for power, other in ((1, metric.at_most), (2, metric.square_at_most)):
        for seed in range(3 if other else 0):
            made = case(noise, seed=seed)
            assert value(metric, made).value ** power <= value(*find_metrics([other]), made).value * (1 + 1e-12)


@pytest.fixture
def write(mini_release, tmp_path):
    """Write predictions of four images a task: the truth times a factor, the first ``unanswered`` without an answer."""

    def write_file(name, factor, unanswered=0, **stated):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.attrs["release_sha256"] = mini_release.content_sha256
            for task in ("id", "ood"):
                index = mini_release.split(task, "test")
                kernel = factor * mini_release.kernels.image[mini_release.observation_kernel[index]]
                kernel[:unanswered] = np.nan
                file[f"{task}/index"], file[f"{task}/kernel"] = index, kernel
                for dataset, value in stated.items():
                    pixels = [2 * n - 1 if dataset == "kernel_full" else n for n in mini_release.grid.shape]
                    file[f"{task}/{dataset}"] = np.full((len(index), *pixels), value, dtype=np.float32)
        return tmp_path / f"{name}.h5"

    return write_file


@pytest.mark.parametrize("name", NAMES)
def test_an_image_without_an_answer_never_improves_a_score(name, write, mini_release):
    (metric,) = find_metrics([name])
    columns = {}
    for unanswered in (0, 3):
        with open_predictions(write(f"{unanswered}", 0.7, unanswered), mini_release) as predictions:
            columns[unanswered] = score_images(predictions, mini_release, "ood", metrics=[metric]).columns
    for column in metric.columns:
        whole, some = (columns[unanswered][column.name] for unanswered in (0, 3))
        if column.worse is None:
            assert some[:3].tolist() == whole[:3].tolist()
        else:
            assert (some[:3] >= whole[3:].max() if column.worse == "higher" else some[:3] <= whole[3:].min()).all()
        assert some[3:].tolist() == whole[3:].tolist()


def test_a_ratio_over_the_truth_keeps_the_truth_of_images_without_an_answer(write, mini_release):
    with open_predictions(write("some", 0.7, 3), mini_release) as predictions:
        images = score_images(predictions, mini_release, "ood", metrics=find_metrics(["energy_ratio"]))
    truth = mini_release.kernels.image[images.kernel].astype(float)
    assert images.columns["energy"].tolist() == pytest.approx((truth**2).sum(axis=(1, 2)).tolist())


def test_a_metric_may_use_all_that_a_predictions_file_holds(write, mini_release):
    chosen = find_metrics(["covered", "full_error"])
    found = {}
    for name, stated in {"none": {}, "wide": {"std": 100.0, "kernel_full": 2.0}, "nan": {"std": np.nan}}.items():
        with open_predictions(write(name, 0.7, 1, **stated), mini_release) as predictions:
            found[name] = score_images(predictions, mini_release, "ood", metrics=chosen).columns
    pixels = found["wide"]["pixels"]
    # The first image is not answered: it counts as zeros without a deviation, so no pixel of it is covered.
    assert found["wide"]["pixels_covered"].tolist() == [0, *pixels[1:]]
    assert (found["wide"]["full_error"] > found["none"]["full_error"]).all()
    for without in ("none", "nan"):
        assert found[without]["pixels_covered"].max() < 0.01 * pixels[0]
    truth = mini_release.kernels.image[mini_release.observation_kernel[mini_release.split("ood", "test")]]
    assert found["none"]["full_error"][1:].tolist() == pytest.approx(
        np.abs(truth[1:]).mean(axis=(1, 2)).tolist(), rel=1e-5
    )


def test_a_metric_that_does_not_use_the_truth_is_scored_where_truths_are_zero(write, mini_release, monkeypatch):
    path = write("near", 0.7)
    kernels = mini_release.kernels
    monkeypatch.setattr(mini_release, "kernels", replace(kernels, image=np.zeros_like(kernels.image)))
    with open_predictions(path, mini_release) as predictions:
        score_images(predictions, mini_release, "ood", metrics=find_metrics(["unlike_what_was_seen"]))
        with pytest.raises(InvalidDataError, match="is zero everywhere"):
            score_images(predictions, mini_release, "ood", metrics=find_metrics(["mae"]))


def test_the_columns_of_a_metric_are_shared_by_name():
    same = {metric.name: metric.columns[0] for metric in find_metrics(["rel_l2_mean", "rel_l2_q90", "failure_rate"])}
    assert len(set(map(id, same.values()))) == 1


TRACK = """
summary = "a cell that is ranked by a toy"
[cells.toy]
specs = ["mini"]
task = "ood"
view = "image"
metrics = ["mae", "worst_pixel", "energy_ratio", "within", "unlike_what_was_seen"]
primary = "worst_pixel"
size = 6
"""


def test_score_report_compare_board_and_check_know_a_toy(mini_release, tmp_path):
    (tmp_path / "own.toml").write_text(TRACK)
    (asked,) = cell_requests(str(tmp_path / "own.toml"), [mini_release])
    (tmp_path / "results").mkdir()
    kept = {}
    for entry in ("zeros", "median_kernel"):
        kept[entry] = tmp_path / f"{entry}.h5"
        predict(entry, asked.release, kept[entry], asked.request)
        result = score(kept[entry], mini_release)
        save_result(result, tmp_path / "results" / f"{entry}.json")
        assert load_result(tmp_path / "results" / f"{entry}.json") == result
        (cell,) = result.cells.values()
        assert list(cell.metrics) == ["mae", "worst_pixel", "energy_ratio", "within", "unlike_what_was_seen"]
        assert {name for group in cell.parts[0].breakdowns["scatterers"] for name in group.metrics} == {"worst_pixel"}
        assert "worst_pixel" in metrics_table(result)
        assert check_result(tmp_path / "results" / f"{entry}.json", [kept[entry]], [mini_release.path])[1]
    with open_predictions(kept["zeros"], mini_release) as predictions:
        report(score(kept["zeros"], mini_release), predictions, mini_release, tmp_path / "report.html")
    told = (tmp_path / "report.html").read_text()
    assert "worst pixel (native units)" in told
    assert "By rank of the worst pixel among" in told
    assert "relative L2" not in told
    assert "Largest absolute error of a pixel, averaged over images. Less is better, at least 0 native units." in told

    (task,) = compare([kept["zeros"]], [kept["median_kernel"]], mini_release).tasks.values()
    assert list(task.metrics) == ["worst_pixel", "mae", "unlike_what_was_seen"]  # the means of the cell, its own first
    assert task.metrics["worst_pixel"].lower in ("A", "B", None)

    ((table, members),) = build_leaderboard(tmp_path / "results", tmp_path / "site").items()
    assert table.primary == "worst_pixel"
    scores = [member.cell.metrics["worst_pixel"].value for member in members]
    assert scores == sorted(scores)
    page = (tmp_path / "site" / "index.html").read_text()
    assert "worst pixel (native units)" in page
    assert "energy of the error" in page
    assert "pixels within 0.1" not in page  # it says that it wants no column there


def test_a_toy_is_scored_outside_of_tracks_and_stands_in_the_schemas(mini_release, write):
    for cell in score(write("near", 0.9), mini_release).cells.values():
        # Some need optional predictions, two species, or images with a Cramer-Rao bound.
        lacking = {"std", "kernel_full", "bound", "species"}
        left_out = {name for name in NAMES if lacking & uses(*find_metrics([name]))}
        assert {"covered", "full_error", "excess", "assignment_accuracy"} <= left_out
        assert set(cell.metrics) == set(NAMES) - left_out
    for what, model in (("result", "PartResult"), ("comparison", "PairedTask")):
        with redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit) as ending:
            cli.main(["schema", what])
        assert ending.value.code == 0
        schema = json.loads(printed.getvalue())
        assert "worst_pixel" in schema["$defs"][model]["properties"]["metrics"]["properties"]


def test_every_metric_of_the_package_is_in_the_documentation():
    text = (Path(locate("baselines")).parent / "docs" / "scores.md").read_text()
    for metric in find_metrics(SHIPPED):
        row = f"| `{metric.name}` | {metric.head} | {metric.sentence} |"
        assert row.count("|") == 4  # a bar would end the cell of the table
        assert row in text
