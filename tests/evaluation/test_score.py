"""Scores are exact where they must be, hold failures against an entry, and can be derived again."""

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.image_scores import score_images
from qpibench.evaluation.metrics import Case, all_metrics
from qpibench.evaluation.prediction_record import FailureRecord, Record
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.predictions_writer import PredictionsWriter
from qpibench.evaluation.result import CellRecord, ModelRecord, Run
from qpibench.evaluation.result_differences import compare_results
from qpibench.evaluation.score import aggregate, score
from qpibench.grid import Grid
from qpibench.release import open_release, write_imported
from qpibench.specs import ImportedSpec
from qpibench.synthesis.contract import Kernels, Observations

FOLDS = np.repeat(np.array([0, 2, 3, 4, 6], dtype=np.int32), 4)
IMAGES_PER_KERNEL = 10


def write_release(path, *, kernel_image=None):
    """Twenty kernels of random pixels, ten images of each with 1 to 60 scatterers."""
    rng = np.random.default_rng(1)
    grid = Grid(ny=12, nx=10, size_y_nm=6, size_x_nm=5)
    unknown = np.full(len(FOLDS), np.nan)
    kernels = Kernels(
        image=rng.random((len(FOLDS), *grid.shape), dtype=np.float32) if kernel_image is None else kernel_image,
        family=np.full(len(FOLDS), b"eq7", dtype="S16"),
        parameters={"fold": FOLDS, "phi1": unknown, "B": unknown, "phi2": unknown, "C": unknown},
    )
    count = len(FOLDS) * IMAGES_PER_KERNEL
    n_scatterers = rng.integers(1, 61, count).astype(np.int32)
    position_nm = rng.uniform(-2, 2, (count, 60, 2))
    position_nm[np.arange(60) >= n_scatterers[:, None]] = np.nan
    observations = Observations(
        image=rng.random((count, *grid.shape), dtype=np.float32),
        kernel=np.repeat(np.arange(len(FOLDS), dtype=np.int32), IMAGES_PER_KERNEL),
        n_scatterers=n_scatterers,
        position_nm=position_nm,
    )
    spec = ImportedSpec(name="scored", files_sha256=("0" * 64,), axis_order="x_first", grid=grid)
    write_imported(spec, path, kernels, observations)
    return open_release(path)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    with write_release(tmp_path_factory.mktemp("release") / "scored.h5") as opened:
        yield opened


RECORD = Record(
    model=ModelRecord(name="mine", file_sha256="a" * 64, weights={}, knows=("eq7",), needs=("raster",), trained_on=()),
    view="raster",
    map_mode="exact",
    limit=None,
    seed=0,
    batch_size=32,
    failure=None,
    non_finite={},
    fit_seconds=None,
    task_seconds={},
    run=Run(seconds=1.5, peak_memory_bytes=1000, environment={"python": "3.11"}),
)


@pytest.fixture
def write_predictions(tmp_path, release):
    """Write a file that answers with a function of the true kernels, (n, y, x), and of the rows of the release."""

    def write(answer, *, tasks=("id", "ood"), order=slice(None), record=RECORD, of=release, name="predictions.h5"):
        index = {task: of.split(task, "test")[order] for task in tasks}
        with PredictionsWriter(tmp_path / name, release_sha256=of.content_sha256, index=index, grid=of.grid) as writer:
            for task, rows in index.items():
                truth = of.kernels.image[of.observation_kernel[rows]]
                writer.write(task, 0, {"kernel": answer(truth, rows).astype(np.float32)})
            writer.finish(record)
        return tmp_path / name

    return write


def oracle(truth, rows):
    return truth


def zeros(truth, rows):
    return np.zeros_like(truth)


def noisy(truth, rows, sigma=0.3):
    """The truth with noise that depends on the row and not on its place in the file."""
    noise = np.stack([np.random.default_rng(row).standard_normal(truth.shape[1:]) for row in rows])
    return truth + sigma * noise * (0.5 + rows[:, None, None] % 7)


METRICS = {name: metric for name, metric in all_metrics().items() if metric.always_applies}
"""Those that any predictions of any release have."""

COLUMNS = {column.name: column for metric in METRICS.values() for column in metric.columns}


def values(cell):
    return {name: score.value for name, score in cell.metrics.items() if name in METRICS}


def measured(name, truth, prediction):
    """The column of that name, (n,)."""
    ny, nx = truth.shape[1:]
    grid = Grid(ny=ny, nx=nx, size_y_nm=1.0, size_x_nm=1.0)
    return COLUMNS[name].measure(Case(grid=grid, truth=truth, prediction=prediction))


def test_an_oracle_is_perfect_exactly(release, write_predictions):
    result = score(write_predictions(oracle), release)
    for cell in result.cells.values():
        assert values(cell) == {name: metric.best for name, metric in METRICS.items()}
        for name in METRICS:
            interval = cell.metrics[name]
            if name == "failure_rate":  # no failure of a few kernels does not promise that there is none
                assert interval.low == interval.value < interval.high < 1
            else:
                assert interval.low == interval.value == interval.high


def test_zeros_have_a_relative_error_of_one_and_always_fail(release, write_predictions):
    for cell in score(write_predictions(zeros), release).cells.values():
        for name in ("rel_l2_mean", "rel_l2_median", "rel_l2_q90", "rel_l2_capped"):
            interval = cell.metrics[name]
            assert interval.low == interval.value == interval.high == 1.0
        failures = cell.metrics["failure_rate"]
        assert 0 < failures.low < failures.value == failures.high == 1
        assert cell.n_failed == 0


def test_metrics_are_means_and_quantiles_over_images(release, write_predictions):
    result = score(write_predictions(noisy), release)
    for name, cell in result.cells.items():
        rows = release.split(name, "test")
        truth = release.kernels.image[release.observation_kernel[rows]]
        predicted = noisy(truth, rows).astype(np.float32)
        relative = measured("rel_l2", truth, predicted)
        assert 0 < (relative >= 1).mean() < 1
        means = ("mae", "mse", "rmse", "mae_published", "mse_published", "rmse_published", "ssim", "psnr")
        expected = {
            **{name: np.mean(measured(name, truth, predicted)) for name in means},
            "rel_l2_mean": np.mean(relative),
            "rel_l2_median": np.median(relative),
            "rel_l2_q90": np.quantile(relative, 0.9),
            "rel_l2_capped": np.mean(np.minimum(relative, 1)),
            "failure_rate": np.mean(relative >= 1),
        }
        # eq. 7 has no core
        expected |= {f"rel_l2_outside_{name}": expected[f"rel_l2_{name}"] for name in ("capped", "median")}
        for name in ("rel_l2_invariant", "rel_l2_rescaled"):
            least = measured(name, truth, predicted)
            expected |= {f"{name}_capped": np.mean(least), f"{name}_median": np.median(least)}
        assert values(cell) == pytest.approx(expected, rel=1e-12)
        assert cell.metrics["mae"].low < cell.metrics["mae"].value < cell.metrics["mae"].high


@pytest.mark.parametrize("sigma", [0.01, 3.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_failed_image_counts_as_the_worse_of_zeros_and_the_worst_answer(release, write_predictions, sigma, bad):
    """With little noise zeros are worse than any answer; with much noise the worst answer is worse than zeros."""

    def one_fails(truth, rows):
        predicted = noisy(truth, rows, sigma)
        predicted[3, 5, 5] = bad
        return predicted

    with open_predictions(write_predictions(one_fails), release) as predictions:
        images = score_images(predictions, release, "ood", metrics=tuple(METRICS.values()))
    with open_predictions(write_predictions(lambda t, r: noisy(t, r, sigma)), release) as predictions:
        untouched = score_images(predictions, release, "ood", metrics=tuple(METRICS.values()))
    assert np.flatnonzero(images.failed).tolist() == [3]
    truth = release.kernels.image[images.kernel[3:4]]
    for name, error in images.columns.items():
        others = np.delete(untouched.columns[name], 3)
        assert np.delete(error, 3).tolist() == others.tolist()
        of_zeros = measured(name, truth, np.zeros_like(truth)).item()
        expected = min(of_zeros, others.min()) if COLUMNS[name].worse == "lower" else max(of_zeros, others.max())
        assert error[3] == expected
    part = aggregate(images, tuple(METRICS.values()), primary="mae", n_available=len(images))
    assert part["n_failed"] == 1
    assert part["metrics"]["mae"].value == pytest.approx(images.columns["mae"].mean(), rel=1e-12)


def test_an_entry_that_answers_nothing_scores_as_zeros(release, write_predictions):
    nothing = score(write_predictions(lambda truth, rows: np.full_like(truth, np.nan)), release)
    of_zeros = score(write_predictions(zeros), release)
    for name, cell in nothing.cells.items():
        assert values(cell) == values(of_zeros.cells[name])
        assert cell.n_failed == cell.n_images


def test_dropping_an_image_never_improves_a_score(release, write_predictions):
    def without_some(truth, rows):
        predicted = noisy(truth, rows)
        predicted[rows % 3 == 0] = np.nan
        return predicted

    honest, silent = (values(score(write_predictions(answer), release).cells["id"]) for answer in (noisy, without_some))
    for name in honest:
        sign = 1 if METRICS[name].better == "higher" else -1
        assert sign * silent[name] <= sign * honest[name], name


def test_breakdowns_share_out_all_images(release, write_predictions):
    (part,) = score(write_predictions(noisy), release).cells["ood"].parts
    assert list(part.breakdowns) == ["scatterers", "stratum"]
    bins, strata = part.breakdowns["scatterers"], part.breakdowns["stratum"]
    assert sum(group.n_images for group in bins) == sum(group.n_images for group in strata) == part.n_images
    assert {group.label for group in bins} <= {"1–2", "3–5", "6–10", "11–20", "21–50", "51–100"}
    assert [group.order for group in bins] == sorted(group.order for group in bins)
    folds = sorted(set(FOLDS[release.observation_kernel[release.split("ood", "test")]]))
    assert [group.order for group in strata] == folds
    assert [group.label for group in strata] == [release.family.stratum_label(fold) for fold in folds]
    for groups in (bins, strata):
        weighted = sum(group.n_images * group.metrics["rel_l2_capped"].value for group in groups)
        assert weighted / part.n_images == pytest.approx(part.metrics["rel_l2_capped"].value, rel=1e-12)


def test_a_breakdown_holds_the_images_it_names(release, write_predictions):
    scatterers = release.read("observations/n_scatterers")

    def good_with_few(truth, rows):
        return np.where((scatterers[rows] <= 10)[:, None, None], truth, 0)

    (part,) = score(write_predictions(good_with_few), release).cells["id"].parts
    for group in part.breakdowns["scatterers"]:
        assert group.metrics["rel_l2_capped"].value == (0.0 if group.order <= 10 else 1.0)


def test_only_what_is_asked_for_is_scored(release, write_predictions):
    path = write_predictions(noisy)
    all_of_them, some = score(path, release), score(path, release, metrics=["psnr"])
    for name, cell in some.cells.items():
        assert set(cell.metrics) == {"psnr", "rel_l2_capped"}  # and what ranks
        expected = all_of_them.cells[name].metrics["psnr"].model_dump()
        assert cell.metrics["psnr"].model_dump() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(UsageError, match="There is no metric 'mea'"):
        score(path, release, metrics=["mea"])


def test_the_cell_of_a_track_says_what_is_scored_and_what_ranks(release, write_predictions):
    cell = CellRecord(
        track="own", track_sha256="0" * 64, cell="hard", primary="psnr", size=None, metrics=("psnr", "mae")
    )
    path = write_predictions(noisy, tasks=("ood",), record=RECORD.model_copy(update={"cell": cell}))
    (name, scored), *others = score(path, release).cells.items()
    assert (name, scored.record, scored.primary, others) == ("hard", cell, "psnr", [])
    assert list(scored.metrics) == ["psnr", "mae"]
    assert {metric for group in scored.parts[0].breakdowns["stratum"] for metric in group.metrics} == {"psnr"}


def test_the_order_of_rows_in_the_file_does_not_change_the_scores(release, write_predictions):
    forwards, backwards = (
        score(write_predictions(noisy, order=order, name=f"{order.step}.h5"), release)
        for order in (slice(None, None, 1), slice(None, None, -1))
    )
    assert [c.metrics for c in forwards.cells.values()] == [c.metrics for c in backwards.cells.values()]


def test_a_subset_is_marked(release, write_predictions, tmp_path):
    from qpibench.tasks import subset

    rows = subset(release, "id", 7)
    with PredictionsWriter(
        tmp_path / "few.h5", release_sha256=release.content_sha256, index={"id": rows}, grid=release.grid
    ) as writer:
        writer.write("id", 0, {"kernel": release.kernels.image[release.observation_kernel[rows]]})
        writer.finish(RECORD.model_copy(update={"limit": 7}))
    result = score(tmp_path / "few.h5", release)
    (task,) = result.cells["id"].parts
    assert list(result.cells) == ["id"]
    assert (task.subset, task.n_images, task.n_available) == (True, 7, len(release.split("id", "test")))


def test_scoring_again_gives_the_same_result(release, write_predictions):
    path = write_predictions(noisy)
    assert compare_results(score(path, release), score(path, release), tolerance=0.0) == []


def test_the_result_says_what_was_scored(release, write_predictions):
    result = score(write_predictions(noisy), release)
    for part in (part for cell in result.cells.values() for part in cell.parts):
        assert part.release.content_sha256 == release.content_sha256
        assert (part.release.observation_count, part.release.kernel_count) == (200, 20)
        assert (part.view, part.map_mode, part.failure, part.prediction_run) == ("raster", "exact", None, RECORD.run)
    assert (result.model, result.status) == (RECORD.model, "complete")
    assert result.scoring_run.seconds > 0


def test_an_entry_that_stopped_is_marked_as_failed(release, write_predictions):
    failure = FailureRecord(
        kind="raised", stage="predict", message="mine.py:3: ValueError: no", traceback="", task="id", row=4
    )
    result = score(write_predictions(noisy, record=RECORD.model_copy(update={"failure": failure})), release)
    assert result.status == "failed"
    for cell in result.cells.values():
        (part,) = cell.parts
        assert cell.failed
        said = (part.failure.kind, part.failure.message, part.failure.task)
        assert said == ("raised", "mine.py:3: ValueError: no", "id")


def test_the_time_of_predict_is_that_of_the_predictions_file_by_task(release, write_predictions):
    record = RECORD.model_copy(update={"task_seconds": {"id": 1.25, "ood": 0.0}})
    result = score(write_predictions(noisy, record=record), release)
    assert result.cells["id"].parts[0].predict_seconds == 1.25
    assert result.cells["ood"].parts[0].predict_seconds is None
    assert score(write_predictions(noisy), release).cells["id"].parts[0].predict_seconds is None


def test_a_negative_time_is_refused(release, write_predictions):
    record = RECORD.model_copy(update={"task_seconds": {"id": -1.0}})
    with pytest.raises(InvalidDataError, match="The record of predictions file"):
        score(write_predictions(noisy, record=record), release)


def test_predictions_that_somebody_else_wrote_are_scored(release, tmp_path):
    rows = release.split("ood", "test")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file.attrs["release_sha256"] = release.content_sha256
        file["ood/index"] = rows
        file["ood/kernel"] = release.kernels.image[release.observation_kernel[rows]].astype(np.float64)
    result = score(tmp_path / "foreign.h5", release)
    assert (result.model.name, result.model.file_sha256, result.cells["ood"].view) == ("unnamed", None, "unknown")
    assert result.cells["ood"].metrics["rel_l2_mean"].value == 0.0


def test_progress_runs_to_the_number_of_images(release, write_predictions):
    steps = []
    result = score(write_predictions(noisy), release, progress=lambda done, total: steps.append((done, total)))
    total = sum(cell.n_images for cell in result.cells.values())
    assert steps == sorted(steps)
    assert steps[-1] == (total, total)


def test_a_missing_file_is_a_wrong_request(release, tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.h5"):
        score(tmp_path / "nowhere.h5", release)


def test_a_kernel_of_zeros_has_no_relative_error(tmp_path, write_predictions):
    image = np.ones((len(FOLDS), 12, 10), dtype=np.float32)
    image[:] = 0
    with write_release(tmp_path / "zero.h5", kernel_image=image) as release:
        path = write_predictions(oracle, of=release)
        with pytest.raises(InvalidDataError, match="Kernel 0 of release 'scored' is zero everywhere"):
            score(path, release)
