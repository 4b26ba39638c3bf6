"""Errors of q are those of known ripples, failures are those above half a Fourier bin, and presets can be scored."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.q_vector import PRESETS, measure
from qpibench.evaluation.image_scores import score_images
from qpibench.evaluation.metrics import Case, find_metrics
from qpibench.evaluation.metrics.q_vector import q_error, q_failed, q_scored
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.score import score
from qpibench.grid import Grid

GRID = Grid(ny=64, nx=64, size_y_nm=20.0, size_x_nm=20.0)
LIMIT = np.pi / 20
R = np.hypot(GRID.x_nm, GRID.y_nm[:, None])
THETA = np.arctan2(GRID.y_nm[:, None], GRID.x_nm)


def ripples(q):
    """Ripples that fade, as much as eq. 7's; q may depend on the direction."""
    return (1 + np.cos(q * R + 1)) * np.exp(-((R / 6) ** 2))


def columns(truth, prediction, wavevector):
    case = Case(
        grid=GRID, truth=np.array(truth), prediction=np.array(prediction), wavevector=np.array(wavevector, dtype=float)
    )
    return [measure(case) for measure in (q_error, q_failed, q_scored)]


def test_the_error_is_the_difference_from_the_formula_and_at_most_half_a_bin():
    off = np.array([0.0, 0.5, -0.9, 1.2, 9.0]) * LIMIT
    error, failed, scored = columns([ripples(3.0)] * 5, [ripples(3.0 + each) for each in off], [3.0] * 5)
    assert error == pytest.approx(np.minimum(np.abs(off), LIMIT), abs=0.02 * LIMIT)
    assert failed.tolist() == [0, 0, 0, 1, 1]
    assert scored.tolist() == [1] * 5


def test_a_prediction_without_ripples_is_a_failure():
    error, failed, _ = columns([ripples(3.0)] * 2, [np.zeros(GRID.shape), np.exp(-(R**2))], [3.0] * 2)
    assert error.tolist() == [LIMIT] * 2
    assert failed.tolist() == [1] * 2


def test_an_image_whose_true_kernel_does_not_show_the_wavevector_is_not_scored():
    found = columns([ripples(3.0)] * 2, [ripples(9.0)] * 2, [3.0 + 0.4 * LIMIT, 3.0 + 0.6 * LIMIT])
    assert [column.tolist() for column in found] == [[LIMIT, 0], [1, 0], [1, 0]]


def test_without_a_formula_the_peaks_of_twelve_directions_are_compared_with_the_true_ones():
    along = np.where(np.abs(np.cos(THETA)) > np.cos(np.radians(37.5)), 4.0, 3.0)  # 0, 15, 30, 150 and 165 degrees
    error, failed, scored = columns([ripples(3.0)] * 2, [ripples(3.0), ripples(along)], [np.nan] * 2)
    assert scored.tolist() == [1, 1]
    assert (error[0], failed[0]) == (0, 0)
    assert failed[1] == pytest.approx(5 / 12)
    assert error[1] == pytest.approx(5 / 12 * LIMIT, rel=0.1)


def test_kernels_with_and_without_a_formula_are_scored_side_by_side():
    _, failed, scored = columns([ripples(3.0)] * 3, [ripples(q) for q in (4.0, 3.0, 4.0)], [3.0, np.nan, np.nan])
    assert failed.tolist() == [1, 0, 1]
    assert scored.tolist() == [1, 1, 1]


def test_a_prediction_that_is_not_finite_has_no_error():
    error, failed, scored = columns([ripples(3.0)] * 2, [ripples(3.0), np.full(GRID.shape, np.nan)], [3.0] * 2)
    assert np.isnan([error[1], failed[1]]).all()
    assert (failed[0], scored.tolist()) == (0, [1, 1])


def test_an_image_without_an_answer_fails_if_it_is_scored_and_else_does_not_enter(mini_release, tmp_path):
    index = mini_release.split("ood", "test")
    kernel = mini_release.kernels.image[mini_release.observation_kernel[index]]
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file.attrs["release_sha256"] = mini_release.content_sha256
        kernel[1::2] = np.nan
        file["ood/index"], file["ood/kernel"] = index, kernel
    chosen = find_metrics(["q_error", "q_failure_rate"])
    with open_predictions(tmp_path / "none.h5", mini_release) as predictions:
        images = score_images(predictions, mini_release, "ood", metrics=chosen)
    scored = images.columns["q_scored"]
    assert images.columns["q_failed"].tolist() == (scored * images.failed).tolist()
    assert images.columns["q_error"][images.failed] == pytest.approx(scored[images.failed] * np.pi / 10)
    (cell,) = score(tmp_path / "none.h5", mini_release, metrics=["q_failure_rate", "q_scored_share"]).cells.values()
    rate = cell.metrics["q_failure_rate"]
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert cell.metrics["q_scored_share"].value == scored.mean()


def documented():
    """Rows of the table of docs/scores.md by preset: scored share, median and largest error, clear directions."""
    page = (Path(__file__).parents[2] / "docs" / "scores.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+|-) \| ([\d.]+|-) \| ([\d.]+|-) \| ([\d.]+|-) \|$", page, re.MULTILINE)
    return {name: rest for name, *rest in rows}


def test_the_documented_shares_of_scored_kernels_are_of_all_presets():
    assert set(documented()) == set(PRESETS)


@pytest.mark.parametrize("name", ["ag111_64", *(pytest.param(n, marks=pytest.mark.slow) for n in PRESETS)])
def test_as_many_kernels_are_scored_as_documented(name):
    assert list(measure(name)) == documented()[name]
