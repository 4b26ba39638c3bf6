"""Two species of scatterers: what predictions score, and the commands that score, report and check them."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from qpibench.cli.main import cli
from qpibench.errors import InvalidDataError
from qpibench.evaluation.check import check
from qpibench.evaluation.predict import Request, predict
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.result_file import load_result
from qpibench.evaluation.score import score
from qpibench.tasks import subset


def run(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="qpibench")
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def scores(pairs, write_model, witness, tmp_path):
    """Score kernels and species that are made from the true ones, of an entry that was told the species or was not."""

    def scored(*, kernel=lambda truth: truth, species=None, told=True):
        path = tmp_path / "predictions.h5"
        predict(write_model(witness), pairs, path, Request(tasks=["ood"], told_species=told))
        with h5py.File(path, "r+") as file:
            index = file["ood/index"][:]
            file["ood/kernel"][:] = kernel(pairs.kernels.image[pairs.observation_kernel[index]])
            file["ood"].pop("species", None)
            if species is not None:
                file["ood/species"] = species(pairs.take("told_species", index)).astype(np.int32)
        (cell,) = score(path, pairs).cells.values()
        return {name: value.value for name, value in cell.metrics.items()}, cell.parts[0]

    return scored


@pytest.mark.parametrize("told", [True, False])
def test_the_truth_has_no_error(scores, told):
    metrics, part = scores(told=told)
    assert metrics["rel_l2_capped"] == metrics["mae"] == metrics["failure_rate"] == 0
    assert (part.told_species, part.n_kernels, part.n_images) == (told, 5, 30)


def test_an_image_has_the_mean_of_both_kernels(scores):
    metrics, _ = scores(kernel=lambda truth: truth * np.array([0.5, 0.9])[:, None, None])
    assert metrics["rel_l2_mean"] == pytest.approx((0.5 + 0.1) / 2, rel=1e-6)


def test_hidden_species_may_come_in_any_order_and_told_ones_may_not(scores):
    swapped = {"kernel": lambda truth: truth[:, ::-1], "species": lambda told: np.where(told < 0, -1, 1 - told)}
    metrics, part = scores(told=False, **swapped)
    assert (metrics["rel_l2_capped"], metrics["assignment_accuracy"]) == (0, 1)
    shown = part.median_image.pictures()
    np.testing.assert_array_equal(shown[1], shown[2])
    metrics, part = scores(told=True, **swapped)
    assert metrics["rel_l2_capped"] > 0.3
    assert metrics["assignment_accuracy"] == 0
    shown = part.median_image.pictures()
    assert (shown[1] != shown[2]).any()


def test_each_image_is_scored_in_the_order_of_the_least_error(scores):
    # The first image has its kernels swapped, the second in order.
    def kernel(truth):
        mixed = truth.copy()
        mixed[::2] = truth[::2, ::-1]
        return 0.8 * mixed

    assert scores(kernel=kernel, told=False)[0]["rel_l2_mean"] == pytest.approx(0.2, rel=1e-5)


def test_one_exact_kernel_counts_half_however_far_off_the_other_is(scores):
    # Squared errors of the weaker kernel, which is replaced, would be less in the other order.
    def kernel(truth):
        rows, weaker = np.arange(len(truth)), (truth**2).sum(axis=(2, 3)).argmin(axis=1)
        predicted = truth.copy()
        predicted[rows, weaker] = 10 * truth[rows, 1 - weaker] - 9 * truth[rows, weaker]
        return predicted

    metrics, _ = scores(kernel=kernel, told=False)
    assert (metrics["rel_l2_capped"], metrics["failure_rate"]) == (0.5, 0)


def test_errors_above_one_decide_between_orders_of_equal_scores(scores):
    swapped = scores(kernel=lambda truth: 3 * truth[:, ::-1], told=False)[0]
    assert (swapped["rel_l2_capped"], swapped["rel_l2_mean"]) == (1, pytest.approx(2, rel=1e-6))


def test_half_the_scatterers_assigned_are_half_the_accuracy(scores):
    metrics, _ = scores(species=np.zeros_like)
    assert 0.2 < metrics["assignment_accuracy"] < 0.8
    assert scores(species=lambda told: told)[0]["assignment_accuracy"] == 1
    assert "assignment_accuracy" not in scores()[0]


def test_an_image_with_half_a_prediction_counts_as_failed(scores):
    def kernel(truth):
        truth[0, 1, 3, 3] = np.nan
        return truth

    metrics, part = scores(kernel=kernel, species=lambda told: told)
    assert part.n_failed == 1
    assert metrics["failure_rate"] == metrics["rel_l2_capped"] == pytest.approx(1 / 30)
    assert metrics["assignment_accuracy"] == pytest.approx(29 / 30)


def test_zeros_score_one(scores):
    metrics, part = scores(kernel=np.zeros_like)
    assert metrics["rel_l2_capped"] == metrics["failure_rate"] == 1
    assert [sum(group.n_images for group in groups) for groups in part.breakdowns.values()] == [30, 30]


def test_the_floor_of_an_image_is_that_of_both_kernels(pairs, write_model, witness, tmp_path):
    halves = "\n    def autoencode(kernels):\n        return kernels * np.float32(0.5)\n"
    predict(write_model(witness + halves), pairs, tmp_path / "a.h5")
    for cell in score(tmp_path / "a.h5", pairs).cells.values():
        assert cell.floor.metrics["rel_l2_mean"].value == pytest.approx(0.5, rel=1e-6)


def test_a_file_of_another_program_may_have_any_order(pairs, tmp_path):
    index = pairs.split("ood", "test")
    truth = pairs.kernels.image[pairs.observation_kernel[index]]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["release_sha256"] = pairs.content_sha256
        file["ood/index"], file["ood/kernel"] = index, truth[:, ::-1]
    assert score(tmp_path / "a.h5", pairs).cells["ood"].metrics["rel_l2_capped"].value == 0


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("kernel", np.zeros((30, 12, 10)), r"'kernel' must be floating point of shape \(30, 2, 12, 10\), found"),
        ("species", np.zeros((30, 12)), r"'species' must be integers of shape \(30, \d+\), found float64"),
    ],
)
def test_an_array_of_another_shape_is_refused(pairs, tmp_path, name, values, words):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["release_sha256"] = pairs.content_sha256
        arrays = {"index": pairs.split("ood", "test"), "kernel": np.zeros((30, 2, 12, 10)), name: values}
        for each, array in arrays.items():
            file[f"ood/{each}"] = array
    with pytest.raises(InvalidDataError, match=words):
        open_predictions(tmp_path / "a.h5", pairs)


def test_species_are_part_of_the_identity_of_predictions(pairs, write_model, witness, tmp_path):
    path, digests = tmp_path / "a.h5", set()
    predict(write_model(witness), pairs, path)
    for species in (0, 0, 1):
        with h5py.File(path, "r+") as file:
            file["ood/species"][3, 2] = species
        with open_predictions(path, pairs) as opened:
            digests.add(opened.sha256())
    assert len(digests) == 2


@pytest.mark.slow
@pytest.mark.parametrize("hide", [[], ["--hide-species"]], ids=["told", "hidden"])
def test_evaluate_report_board_and_check_take_two_species(pairs, write_model, witness, tmp_path, hide):
    (tmp_path / "results").mkdir()
    result, kept, page = tmp_path / "results" / "a.json", tmp_path / "a.h5", tmp_path / "a.html"
    model = write_model(witness.replace("np.float32)", "np.float32) + 0.1", 1))
    options = ["--task", "ood", *hide, "--report", page, "--predictions", kept, "-o", result]
    run("evaluate", model, "--release", pairs.path, *options)
    assert ("coordinates and species" in page.read_text()) == (not hide)
    assert ", which is shown, and " in page.read_text()
    run("score", kept, "--release", pairs.path, "-o", tmp_path / "again.json")
    assert load_result(tmp_path / "again.json").cells == load_result(result).cells
    run("leaderboard", "check", result, "--predictions", kept, "--release", pairs.path)
    run("leaderboard", "build", tmp_path / "results", "-o", tmp_path / "site")
    assert ("species hidden" in (tmp_path / "site" / "index.html").read_text()) == bool(hide)


SUITE = """
summary = "a toy"
cells = ["toy.toml"]
"""
TRACK = """
summary = "a toy"

[every_cell]
task = "ood"
view = "positions"
primary = "rel_l2_capped"
metrics = ["rel_l2_capped", "assignment_accuracy"]
set = ["observations_per_kernel=1", "splits.ood_kernels=1", "grid={ny=24, nx=24, size_y_nm=6, size_x_nm=6}"]

[cells.one]
specs = ["mini"]

[cells.hidden]
specs = ["mini_species"]
told_species = false
"""


def test_a_suite_says_why_an_entry_cannot_take_a_cell_and_scores_one_that_can(tmp_path, write_model, witness):
    (tmp_path / "toy.toml").write_text(TRACK)
    (tmp_path / "small.toml").write_text(SUITE)
    found = {}
    one = witness.replace("kernel[:, 1] = 1", "if batch.species_count == 1:\n            return kernel[:, 0]")
    for model in ("zeros", write_model("def predict(batch): return batch.image", "none.py"), write_model(one)):
        options = ["--suite", tmp_path / "small.toml", "--data", tmp_path / "data", "-o", tmp_path / "a.json"]
        run("evaluate", model, *options)
        found[model] = json.loads((tmp_path / "a.json").read_text())
        run("leaderboard", "check", tmp_path / "a.json")
    zeros, none, other = found.values()
    assert {name: cell["metrics"]["rel_l2_capped"]["value"] for name, cell in zeros["cells"].items()} == {
        "toy/one": 1,
        "toy/hidden": 1,
    }
    assert list(none["cells"]) == ["toy/one"]
    assert "does not take two species of scatterers" in none["not_applicable"]["toy/hidden"]
    assert (list(other["cells"]), other["not_applicable"]) == (["toy/one", "toy/hidden"], {})
    assert other["cells"]["toy/hidden"]["metrics"].keys() == {"rel_l2_capped"}
    assert other["cells"]["toy/hidden"]["parts"][0]["told_species"] is False


def test_check_tests_two_species_of_a_model_that_declares_them(write_model, witness):
    one = witness.replace("kernel[:, 1] = 1", "if batch.species_count == 1:\n            return kernel[:, 0]")
    findings = {finding.demand: finding.problem for finding in check(write_model(one))}
    assert findings["predicts the kernel of each of two species, told or hidden"] is None
    broken = one.replace("if batch.species is None:", "if batch.species is None:\n            kernel[:] = np.nan")
    (problem,) = {finding.problem for finding in check(write_model(broken)) if "two species" in finding.demand}
    assert "values of the kernel are NaN" in problem


def test_a_subset_has_images_of_as_many_pairs_as_it_can(pairs):
    assert len(set(pairs.observation_kernel[subset(pairs, "ood", 5)][:, 0])) == 5


def test_compare_leaves_out_what_a_file_lacks_and_refuses_it_by_name(pairs, write_model, witness, tmp_path):
    kept = [tmp_path / "a.h5", tmp_path / "b.h5"]
    predict(write_model(witness), pairs, kept[0])
    predict(write_model(witness, "other.py"), pairs, kept[1], Request(told_species=False))
    compared = ["compare", kept[0], "--against", kept[1], "--release", pairs.path]
    assert "rel_l2_capped" in run(*compared).stdout
    told = run(*compared, "--metric", "assignment_accuracy", code=2).stderr
    assert "'assignment_accuracy' cannot be compared: a file lacks an array that it uses" in told


def test_predictions_without_what_ranks_are_refused(tmp_path, write_model, witness):
    (tmp_path / "toy.toml").write_text(TRACK.replace('primary = "rel_l2_capped"', 'primary = "assignment_accuracy"'))
    options = ["--track", tmp_path / "toy.toml/hidden", "--data", tmp_path / "data", "-o", tmp_path / "a.json"]
    told = run("evaluate", write_model(witness), *options, code=3).stderr
    assert "the metric 'assignment_accuracy' ranks, and cannot be measured" in told
