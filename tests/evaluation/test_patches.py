"""Kernels smaller than the images: a model is asked for the central pixels, and they are scored, learned and drawn."""

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.facts import facts_of
from qpibench.evaluation.image_scores import read_cases
from qpibench.evaluation.paired import compare
from qpibench.evaluation.predict import Request, predict
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.report import report
from qpibench.evaluation.score import score
from qpibench.grid import Grid, central_pixels
from qpibench.release import open_release, write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

MODEL = """
import numpy as np
from qpibench import Prediction

class Model:
    def fit(self, train):
        assert train.kernels.shape[1:] == train[0].kernel.shape[1:] == train.kernel_grid.shape == (4, 4)
        self.kernel = train.kernels.mean(axis=0)

    def predict(self, batch):
        assert batch.image.shape[1:] == batch.grid.shape
        assert batch.kernel_grid == batch.grid.central(4)
        kernel = np.broadcast_to(self.kernel, (len(batch), 4, 4))
        full = np.zeros((len(batch), *batch.grid.offsets.shape))
        return Prediction(kernel=kernel, std=np.abs(kernel), kernel_full=full, latent=kernel[:, 0])

    def encode_kernel(self, kernels):
        return kernels[:, 0]

    def autoencode(self, kernels):
        assert kernels.shape[1:] == (4, 4)
        return kernels
"""


@pytest.fixture
def predicted(write_model, tmp_path):
    """Predict the central 4 x 4 pixels of a release, and return the file."""

    def make(release, model=MODEL, **fields):
        path = tmp_path / "predictions.h5"
        outcome = predict(write_model(model), release, path, Request(kernel_px=4, limit=4, **fields))
        assert (outcome.record.failure, outcome.warnings) == (None, ())
        return path

    return make


@pytest.mark.parametrize(("shape", "pixels"), [((12, 10), 4), ((9, 13), 5)])
def test_a_patch_has_the_coordinates_of_its_pixels(shape, pixels):
    grid = Grid(ny=shape[0], nx=shape[1], size_y_nm=6, size_x_nm=5)
    y, x = ((n - pixels) // 2 for n in shape)
    patch = grid.central(pixels)
    np.testing.assert_allclose(patch.y_nm, grid.y_nm[y : y + pixels], atol=1e-14)
    np.testing.assert_allclose(patch.x_nm, grid.x_nm[x : x + pixels], atol=1e-14)
    image = np.add.outer(grid.y_nm, 100 * grid.x_nm)[None]
    np.testing.assert_allclose(central_pixels(image, patch.shape)[0], np.add.outer(patch.y_nm, 100 * patch.x_nm))


def test_a_model_learns_predicts_and_decodes_the_central_pixels(memory_release, predicted):
    path = predicted(memory_release)
    with open_predictions(path, memory_release) as predictions:
        assert predictions.kernel_grid == memory_release.grid.central(4)
        assert predictions.record.kernel_px == 4
        assert predictions.kernel("ood").shape == predictions.std("ood").shape == (4, 4, 4)
        assert predictions.kernel_full("ood").shape == (4, 23, 19)
        assert predictions.autoencoded(slice(None)).shape == (6, 4, 4)
        learned = central_pixels(memory_release.kernels.image[:4], (4, 4)).mean(axis=0)
        np.testing.assert_allclose(predictions.kernel("ood")[0], learned, rtol=1e-6)


def test_a_metric_gets_both_grids_and_the_central_pixels_of_the_truth(mini_release, predicted):
    with open_predictions(predicted(mini_release), mini_release) as predictions:
        uses = {"truth", "observation", "std", "kernel_full"}
        (case,), failed = read_cases(
            predictions, mini_release, "ood", slice(None), uses=uses, facts=facts_of(mini_release)
        )
        kernel = mini_release.observation_kernel[predictions.index("ood")]
    assert not failed.any()
    assert (case.grid, case.image_grid) == (mini_release.grid.central(4), mini_release.grid)
    np.testing.assert_array_equal(case.truth, mini_release.kernels.image[kernel, 30:34, 30:34])
    assert (case.observation.shape, case.kernel_full.shape) == ((4, 64, 64), (4, 127, 127))


def test_a_patch_inside_the_core_is_not_scored(write_model, tmp_path):
    spec = load_spec("cu111_64", overrides=["kernels.count=2", "observations_per_kernel=1", "splits.ood_kernels=1"])
    write_release(spec, tmp_path / "cu.h5", backend=get_backend("cpu")[0])
    model = write_model("import numpy as np\ndef predict(batch): return np.full((len(batch), 2, 2), 7, np.float32)")
    with open_release(tmp_path / "cu.h5") as release:
        predict(model, release, tmp_path / "predictions.h5", Request(kernel_px=2))
        with pytest.raises(InvalidDataError, match="The 2 x 2 pixels that are predicted lie inside the core"):
            score(tmp_path / "predictions.h5", release)


@pytest.mark.slow
def test_score_median_image_floor_and_report_are_those_of_the_central_pixels(mini_release, predicted, tmp_path):
    path = predicted(mini_release)
    result = score(path, mini_release)
    part = result.cells["ood"].parts[0]
    with open_predictions(path, mini_release) as predictions:
        kernel = predictions.kernel("ood").astype(float)
        row = mini_release.observation_kernel[predictions.index("ood")]
        report(result, predictions, mini_release, tmp_path / "report.html")
    truth = mini_release.kernels.image[row, 30:34, 30:34].astype(float)
    assert part.metrics["mae"].value == pytest.approx(np.abs(kernel - truth).mean())
    assert part.floor.metrics["mae"].value == 0
    assert part.median_image.pictures().shape == (3, 64, 64)
    assert (part.median_image.pictures()[1].reshape(4, 16, 4, 16).std(axis=(1, 3)) == 0).all()
    assert "central 4 by 4 pixels" in (tmp_path / "report.html").read_text()


def test_predictions_of_all_pixels_have_the_record_and_the_hash_they_had(memory_release, write_model, tmp_path):
    model = write_model("import numpy as np\ndef predict(batch): return np.zeros(batch.image.shape, np.float32)")
    predict(model, memory_release, tmp_path / "predictions.h5", Request(limit=1))
    with h5py.File(tmp_path / "predictions.h5") as file:
        assert "kernel_px" not in file.attrs["record"]


def test_patches_are_not_compared_with_whole_kernels(mini_release, predicted, tmp_path):
    path = tmp_path / "whole.h5"
    predict("zeros", mini_release, path, Request(limit=4))
    with pytest.raises(
        InvalidDataError, match="contain kernels of 4 x 4 and 64 x 64 pixels; compare files of one cell"
    ):
        compare([predicted(mini_release)], [path], mini_release)


@pytest.mark.parametrize("pixels", [5, 10, 12])
def test_a_patch_that_is_none_is_refused_before_the_model_runs(memory_release, write_model, tmp_path, pixels):
    words = f"kernel_px = {pixels} does not fit: .* 10 x 12 .* choose a number from 2 to 9 that is even"
    with pytest.raises(UsageError, match=words):
        predict(write_model(MODEL), memory_release, tmp_path / "p.h5", Request(kernel_px=pixels))
    assert not (tmp_path / "p.h5").exists()


@pytest.mark.parametrize(("kernel_px", "words"), [(5, "kernel_px = 5 does not fit"), (6, r"of shape \(4, 6, 6\)")])
def test_a_record_that_names_another_patch_than_the_arrays_have_is_refused(memory_release, predicted, kernel_px, words):
    path = predicted(memory_release)
    with h5py.File(path, "r+") as file:
        file.attrs["record"] = file.attrs["record"].replace('"kernel_px":4', f'"kernel_px":{kernel_px}')
    with pytest.raises(InvalidDataError, match=words):
        open_predictions(path, memory_release)
