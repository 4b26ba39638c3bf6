"""Scores are exact where they must be, hold failures against an entry, and can be derived again."""

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation import metrics
from qpibench.evaluation.predictions import FailureRecord, PredictionsWriter, Record, open_predictions
from qpibench.evaluation.result import HIGHER_IS_BETTER, Metrics, ModelRecord, Run, compare_results
from qpibench.evaluation.score import aggregate, score, score_images
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


def values(task):
    return {name: getattr(task.metrics, name).value for name in Metrics.model_fields}


def test_an_oracle_is_perfect_exactly(release, write_predictions):
    result = score(write_predictions(oracle), release)
    for task in result.tasks.values():
        perfect = {"ssim": 1.0, "psnr": metrics.PSNR_LIMIT_DB}
        assert values(task) == {name: perfect.get(name, 0.0) for name in Metrics.model_fields}
        for name in Metrics.model_fields:
            interval = getattr(task.metrics, name)
            if name == "failure_rate":  # no failure of a few kernels does not promise that there is none
                assert interval.low == interval.value < interval.high < 1
            else:
                assert interval.low == interval.value == interval.high


def test_zeros_have_a_relative_error_of_one_and_always_fail(release, write_predictions):
    for task in score(write_predictions(zeros), release).tasks.values():
        for name in ("rel_l2_mean", "rel_l2_median", "rel_l2_q90", "rel_l2_capped"):
            interval = getattr(task.metrics, name)
            assert interval.low == interval.value == interval.high == 1.0
        assert (
            0 < task.metrics.failure_rate.low < task.metrics.failure_rate.value == task.metrics.failure_rate.high == 1
        )
        assert task.n_failed == 0


def test_metrics_are_means_and_quantiles_over_images(release, write_predictions):
    result = score(write_predictions(noisy), release)
    for name, task in result.tasks.items():
        rows = release.split(name, "test")
        truth = release.kernels.image[release.observation_kernel[rows]]
        predicted = noisy(truth, rows).astype(np.float32)
        relative = metrics.relative_l2(truth, predicted)
        assert 0 < (relative >= 1).mean() < 1
        expected = {
            "mae": np.mean(metrics.absolute_error(truth, predicted)),
            "mse": np.mean(metrics.squared_error(truth, predicted)),
            "rmse": np.mean(metrics.root_mean_square_error(truth, predicted)),
            "mae_published": np.mean(metrics.absolute_error_published(truth, predicted)),
            "mse_published": np.mean(metrics.squared_error_published(truth, predicted)),
            "rmse_published": np.mean(metrics.root_mean_square_error_published(truth, predicted)),
            "rel_l2_mean": np.mean(relative),
            "rel_l2_median": np.median(relative),
            "rel_l2_q90": np.quantile(relative, 0.9),
            "rel_l2_capped": np.mean(np.minimum(relative, 1)),
            "failure_rate": np.mean(relative >= 1),
            "ssim": np.mean(metrics.structural_similarity(truth, predicted)),
            "psnr": np.mean(metrics.peak_signal_to_noise(truth, predicted)),
        }
        assert values(task) == pytest.approx(expected, rel=1e-12)
        assert task.metrics.mae.low < task.metrics.mae.value < task.metrics.mae.high


@pytest.mark.parametrize("sigma", [0.01, 3.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_failed_image_counts_as_the_worse_of_zeros_and_the_worst_answer(release, write_predictions, sigma, bad):
    """With little noise zeros are worse than any answer; with much noise the worst answer is worse than zeros."""

    def one_fails(truth, rows):
        predicted = noisy(truth, rows, sigma)
        predicted[3, 5, 5] = bad
        return predicted

    with open_predictions(write_predictions(one_fails), release) as predictions:
        images = score_images(predictions, release, "ood")
    with open_predictions(write_predictions(lambda t, r: noisy(t, r, sigma)), release) as predictions:
        untouched = score_images(predictions, release, "ood")
    assert np.flatnonzero(images.failed).tolist() == [3]
    truth = release.kernels.image[images.kernel[3:4]]
    for name, error in images.errors.items():
        others = np.delete(untouched.errors[name], 3)
        assert np.delete(error, 3).tolist() == others.tolist()
        of_zeros = ERROR_OF[name](truth, np.zeros_like(truth)).item()
        expected = min(of_zeros, others.min()) if name in HIGHER_IS_BETTER else max(of_zeros, others.max())
        assert error[3] == expected
    task = aggregate(images, n_available=len(images))
    assert task.n_failed == 1
    assert task.metrics.mae.value == pytest.approx(images.errors["mae"].mean(), rel=1e-12)


ERROR_OF = {
    "mae": metrics.absolute_error,
    "mse": metrics.squared_error,
    "rmse": metrics.root_mean_square_error,
    "mae_published": metrics.absolute_error_published,
    "mse_published": metrics.squared_error_published,
    "rmse_published": metrics.root_mean_square_error_published,
    "rel_l2": metrics.relative_l2,
    "ssim": metrics.structural_similarity,
    "psnr": metrics.peak_signal_to_noise,
}


def test_an_entry_that_answers_nothing_scores_as_zeros(release, write_predictions):
    nothing = score(write_predictions(lambda truth, rows: np.full_like(truth, np.nan)), release)
    of_zeros = score(write_predictions(zeros), release)
    for name, task in nothing.tasks.items():
        assert values(task) == values(of_zeros.tasks[name])
        assert task.n_failed == task.n_images


def test_dropping_an_image_never_improves_a_score(release, write_predictions):
    def without_some(truth, rows):
        predicted = noisy(truth, rows)
        predicted[rows % 3 == 0] = np.nan
        return predicted

    honest, silent = (values(score(write_predictions(answer), release).tasks["id"]) for answer in (noisy, without_some))
    for name in honest:
        sign = 1 if name in HIGHER_IS_BETTER else -1
        assert sign * silent[name] <= sign * honest[name], name


def test_breakdowns_share_out_all_images(release, write_predictions):
    task = score(write_predictions(noisy), release).tasks["ood"]
    assert [b.n_images for b in task.by_scatterers if b.n_images < 1] == []
    assert sum(b.n_images for b in task.by_scatterers) == sum(g.n_images for g in task.by_fold) == task.n_images
    ends = [(b.min_scatterers, b.max_scatterers) for b in task.by_scatterers]
    assert set(ends) <= {(1, 2), (3, 5), (6, 10), (11, 20), (21, 50), (51, 100)}
    assert ends == sorted(ends)
    assert [g.fold for g in task.by_fold] == sorted(
        set(FOLDS[release.observation_kernel[release.split("ood", "test")]])
    )
    for parts in (task.by_scatterers, task.by_fold):
        weighted = sum(part.n_images * part.rel_l2_capped.value for part in parts)
        assert weighted / task.n_images == pytest.approx(task.metrics.rel_l2_capped.value, rel=1e-12)


def test_a_breakdown_holds_the_images_it_names(release, write_predictions):
    scatterers = release.read("observations/n_scatterers")

    def good_with_few(truth, rows):
        return np.where((scatterers[rows] <= 10)[:, None, None], truth, 0)

    task = score(write_predictions(good_with_few), release).tasks["id"]
    for part in task.by_scatterers:
        assert part.rel_l2_capped.value == (0.0 if part.max_scatterers <= 10 else 1.0)


def test_the_order_of_rows_in_the_file_does_not_change_the_scores(release, write_predictions):
    forwards, backwards = (
        score(write_predictions(noisy, order=order, name=f"{order.step}.h5"), release)
        for order in (slice(None, None, 1), slice(None, None, -1))
    )
    assert forwards.tasks == backwards.tasks


def test_a_subset_is_marked(release, write_predictions, tmp_path):
    from qpibench.tasks import subset

    rows = subset(release, "id", 7)
    with PredictionsWriter(
        tmp_path / "few.h5", release_sha256=release.content_sha256, index={"id": rows}, grid=release.grid
    ) as writer:
        writer.write("id", 0, {"kernel": release.kernels.image[release.observation_kernel[rows]]})
        writer.finish(RECORD.model_copy(update={"limit": 7}))
    result = score(tmp_path / "few.h5", release)
    task = result.tasks["id"]
    assert list(result.tasks) == ["id"]
    assert (task.subset, task.n_images, task.n_available) == (True, 7, len(release.split("id", "test")))


def test_scoring_again_gives_the_same_result(release, write_predictions):
    path = write_predictions(noisy)
    assert compare_results(score(path, release), score(path, release), tolerance=0.0) == []


def test_the_result_says_what_was_scored(release, write_predictions):
    result = score(write_predictions(noisy), release)
    assert result.release.content_sha256 == release.content_sha256
    assert (result.release.observation_count, result.release.kernel_count) == (200, 20)
    assert (result.model, result.view, result.map_mode) == (RECORD.model, "raster", "exact")
    assert (result.status, result.failure, result.prediction_run) == ("complete", None, RECORD.run)
    assert result.scoring_run.seconds > 0


def test_an_entry_that_stopped_is_marked_as_failed(release, write_predictions):
    failure = FailureRecord(
        kind="raised", stage="predict", message="mine.py:3: ValueError: no", traceback="", task="id", row=4
    )
    result = score(write_predictions(noisy, record=RECORD.model_copy(update={"failure": failure})), release)
    assert result.status == "failed"
    assert (result.failure.kind, result.failure.message, result.failure.task) == (
        "raised",
        "mine.py:3: ValueError: no",
        "id",
    )


def test_the_time_of_predict_is_that_of_the_predictions_file_by_task(release, write_predictions):
    record = RECORD.model_copy(update={"task_seconds": {"id": 1.25, "ood": 0.0}})
    result = score(write_predictions(noisy, record=record), release)
    assert result.tasks["id"].predict_seconds == 1.25
    assert result.tasks["ood"].predict_seconds is None
    assert score(write_predictions(noisy), release).tasks["id"].predict_seconds is None


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
    assert (result.model.name, result.model.file_sha256, result.view) == ("unnamed", None, "unknown")
    assert result.tasks["ood"].metrics.rel_l2_mean.value == 0.0


def test_progress_runs_to_the_number_of_images(release, write_predictions):
    steps = []
    result = score(write_predictions(noisy), release, progress=lambda done, total: steps.append((done, total)))
    total = sum(task.n_images for task in result.tasks.values())
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
