"""The floor of a model is the error of its own decoding of the encoded true kernel, which it is given at the end."""

import re

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError
from qpibench.evaluation.check import check
from qpibench.evaluation.execution import Execution
from qpibench.evaluation.isolation.isolated import Limits
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.predict import Request, predict
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.report import report
from qpibench.evaluation.score import score

MODEL = """
import numpy as np

class Model:
    kernels_seen = False

    def predict(self, batch):
        return np.full(batch.image.shape, float(self.kernels_seen), np.float32)

    def autoencode(self, kernels):
        self.kernels_seen = True
        return 0.9 * kernels.astype(np.float64)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.h5"


@pytest.fixture
def predicted(mini_release, path, write_model):
    """Predictions of zeros by a model whose autoencoder takes a tenth from every kernel."""
    assert predict(write_model(MODEL), mini_release, path, Request(limit=20)).warnings == ()
    return path


def hash_of(path, release):
    with open_predictions(path, release) as predictions:
        return predictions.sha256()


def test_an_autoencoder_that_takes_a_tenth_from_every_kernel_has_a_floor_of_a_tenth(mini_release, predicted):
    for cell in score(predicted, mini_release).cells.values():
        for name in ("rel_l2_mean", "rel_l2_median", "rel_l2_capped"):
            assert cell.floor.metrics[name].value == pytest.approx(0.1, rel=1e-6)
            assert cell.floor.metrics[name].high == pytest.approx(0.1, rel=1e-6)
        assert cell.floor.metrics["mae"].value == pytest.approx(0.1 * cell.metrics["mae"].value, rel=1e-6)
        assert cell.floor == cell.parts[0].floor


def test_floor_and_added_error_make_the_score_of_every_mean_over_images(mini_release, predicted):
    for cell in score(predicted, mini_release).cells.values():
        assert cell.metrics["rel_l2_mean"].value == 1  # all predictions are zeros: none was made with kernels seen
        assert cell.floor.added["rel_l2_mean"].low == pytest.approx(0.9, rel=1e-6)  # the same for each image
        assert cell.floor.added.keys() == {name for name in cell.floor.metrics if all_metrics()[name].is_mean}
        for name, added in cell.floor.added.items():
            assert cell.floor.metrics[name].value + added.value == pytest.approx(cell.metrics[name].value, rel=1e-12)


def test_a_model_is_given_the_kernels_of_the_predicted_images_in_batches(memory_release, path, write_model):
    source = MODEL.replace("self.kernels_seen = True", "assert len(kernels) == 1")
    predict(write_model(source), memory_release, path, Request(tasks=["ood"]), Execution(batch_size=1))
    with open_predictions(path, memory_release) as predictions:
        decoded = predictions.autoencoded(slice(None))
    np.testing.assert_array_equal(
        decoded[4:], (0.9 * memory_release.kernels.image[4:].astype(float)).astype(np.float32)
    )
    assert np.isnan(decoded[:4]).all()


def test_functions_of_a_file_may_autoencode_and_encode(memory_release, path, write_model):
    model = write_model(
        """
        import numpy as np

        def predict(batch):
            return np.zeros(batch.image.shape, np.float32)

        def encode_kernel(kernels):
            return kernels.mean(axis=(1, 2))[:, None]

        def autoencode(kernels):
            return kernels
        """
    )
    assert predict(model, memory_release, path).warnings == ()
    with open_predictions(path, memory_release) as predictions:
        assert predictions.kernel_latent().shape == (6, 1)
        np.testing.assert_array_equal(predictions.autoencoded(slice(None)), memory_release.kernels.image)


@pytest.mark.parametrize(
    ("autoencode", "sentence"),
    [
        ("raise ValueError('no space')", "The predictions have no floor: .*ValueError: no space"),
        ("raise SystemExit", r"The predictions have no floor: .*sys.exit\(\) was called"),
        ("return None", r"autoencode returned None, expected an array of shape \(6, 12, 10\)"),
        ("return kernels[1:]", r"autoencode returned kernels of shape \(5, 12, 10\), expected \(6, 12, 10\)"),
        ("kernels.shape = (6, 120); return kernels", r"of shape \(6, 120\), expected \(6, 12, 10\)"),
        ("return kernels[:, None]", r"of shape \(6, 1, 12, 10\), expected \(6, 12, 10\)"),
        ("return kernels.astype(int)", "kernels of type int64, expected float16, float32 or float64"),
        ("return 1j * kernels", "kernels of type complex64, expected float16"),
        ("return np.log(kernels - kernels.max())", "returned NaN or infinity for 6 of 6 kernels"),
        ("return kernels * 1e300", "returned NaN or infinity for 6 of 6 kernels"),
        ("import os; os._exit(3)", "ended with exit code 3 during autoencode"),
        ("import signal; signal.pause()", "autoencode took longer than"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_an_autoencoder_that_fails_spoils_no_prediction(memory_release, path, write_model, autoencode, sentence):
    source = MODEL[: MODEL.index("        self.kernels_seen = True")] + f"        {autoencode}\n"
    limits = Limits(batch_s=4 if "pause" in autoencode else 60)
    outcome = predict(write_model(source), memory_release, path, execution=Execution(limits=limits))
    assert outcome.exit_code == 0
    (warning,) = outcome.warnings
    assert re.search(sentence, warning), warning
    with open_predictions(path, memory_release) as predictions:
        assert predictions.autoencoded(slice(None)) is None
        assert not predictions.kernel("ood").any()


def test_a_model_that_ended_while_it_encoded_has_no_floor_either(memory_release, path, write_model):
    source = f"{MODEL}\n    def encode_kernel(self, kernels):\n        import os; os._exit(3)\n"
    outcome = predict(write_model(source), memory_release, path)
    assert outcome.exit_code == 0
    assert len(outcome.warnings) == 2
    assert outcome.warnings[1] == NO_FLOOR


NO_LATENTS = "The kernels have no latents: the model had ended before its encode_kernel."
NO_FLOOR = "The predictions have no floor: the model had ended before its autoencode."


@pytest.mark.parametrize(("alone", "told"), [("raise ValueError", ()), ("os._exit(3)", (NO_LATENTS, NO_FLOOR))])
def test_a_model_that_fails_at_one_image_alone_has_a_floor_unless_it_ended(
    memory_release, path, write_model, alone, told
):
    head = "def predict(self, batch):"
    source = MODEL.replace(head, f"{head}\n        import os\n        if len(batch) == 1: {alone}")
    source += "\n    def encode_kernel(self, kernels):\n        return kernels[:, 0]\n"
    warnings = predict(write_model(source), memory_release, path).warnings
    assert "asked again, alone" in warnings[0]
    assert warnings[1:] == told
    with open_predictions(path, memory_release) as predictions:
        assert (predictions.autoencoded(slice(None)) is None) == bool(told)


def test_a_model_without_autoencoder_has_no_floor_and_a_file_that_older_versions_read(mini_release, path):
    predict("zeros", mini_release, path, Request(limit=2))
    assert h5py.File(path).attrs["format_version"] == 2
    for cell in score(path, mini_release).cells.values():
        assert cell.floor is None
        assert cell.parts[0].floor is None


def test_autoencoded_kernels_are_a_part_of_the_identity_of_predictions(mini_release, predicted):
    assert h5py.File(predicted).attrs["format_version"] == 3
    before = hash_of(predicted, mini_release)
    with h5py.File(predicted, "r+") as file:
        file["kernels/autoencoded"][0, 0, 0] += 1
    changed = hash_of(predicted, mini_release)
    with h5py.File(predicted, "r+") as file:
        del file["kernels"]
    assert len({before, changed, hash_of(predicted, mini_release)}) == 3


def test_a_file_of_another_program_may_have_autoencoded_kernels(mini_release, predicted):
    with h5py.File(predicted, "r+") as file:
        del file.attrs["record"], file.attrs["format_version"]
        file.attrs["release_sha256"] = mini_release.content_sha256
        for task in ("id", "ood"):
            rows = mini_release.split(task, "test")
            del file[f"{task}/index"], file[f"{task}/kernel"]
            file[f"{task}/index"], file[f"{task}/kernel"] = rows, np.zeros((len(rows), *mini_release.grid.shape))
        file["kernels/autoencoded"][...] = 0.5 * mini_release.kernels.image
    floors = [
        cell.floor.metrics["rel_l2_mean"].value for cell in score(predicted, mini_release, name="x").cells.values()
    ]
    assert floors == [pytest.approx(0.5)] * 2


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.ones((9, 64, 64)), r"'kernels/autoencoded' must be floating point of shape \(10, .*\), found float64 of"),
        (np.ones((10, 64)), r"'kernels/autoencoded' must be floating point of shape"),
        (None, "'kernels/autoencoded' must be floating point of shape"),
    ],
)
def test_autoencoded_kernels_that_do_not_fit_the_release_are_refused(mini_release, predicted, value, sentence):
    with h5py.File(predicted, "r+") as file:
        del file["kernels/autoencoded"]
        file["kernels/autoencoded" if value is not None else "kernels/autoencoded/x"] = 1.0 if value is None else value
    with pytest.raises(InvalidDataError, match=sentence):
        open_predictions(predicted, mini_release)


def test_an_autoencoded_kernel_that_is_not_finite_is_named(mini_release, predicted):
    with h5py.File(predicted, "r+") as file:
        kernel = int(mini_release.observation_kernel[file["ood/index"][0]])
        file["kernels/autoencoded"][kernel, 0, 0] = np.nan
    with pytest.raises(InvalidDataError, match=f"'kernels/autoencoded' has NaN or infinity in row {kernel}"):
        score(predicted, mini_release)


def test_check_tests_the_autoencoder(write_model):
    (finding,) = [each for each in check(write_model(MODEL)) if "auto-encodes" in each.demand]
    assert finding.problem is None
    (finding,) = [each for each in check(write_model(MODEL.replace("0.9 *", "np.nan *"))) if each.problem]
    assert finding.problem == "autoencode returned NaN or infinite values"


def test_the_report_divides_the_score_of_each_cell(mini_release, predicted, monkeypatch):
    monkeypatch.setattr("qpibench.evaluation.report.pick_by_rank", lambda errors: [])
    target = predicted.with_suffix(".html")
    with open_predictions(predicted, mini_release) as predictions:
        report(score(predicted, mini_release), predictions, mini_release, target)
    tables = re.findall(r'<table class="floors">.*?</table>', target.read_text(), flags=re.DOTALL)
    assert [re.search('<th scope="col">(.*?)</th>', table)[1] for table in tables] == ["id", "ood"]
    for table in tables:
        row = re.search("<td>relative L2, capped</td>.*", table)[0]
        assert re.findall(r"([0-9.]+) <span", row) == ["1.00", "0.100", "0.900"]
        assert "10 %" in row


def test_a_score_below_its_floor_has_no_share_of_it(mini_release, path, write_model, monkeypatch):
    monkeypatch.setattr("qpibench.evaluation.report.pick_by_rank", lambda errors: [])
    predict(write_model(MODEL.replace("0.9 *", "-1.0 *")), mini_release, path, Request(limit=20))
    with open_predictions(path, mini_release) as predictions:
        report(score(path, mini_release), predictions, mini_release, path.with_suffix(".html"))
    rows = re.findall("<td>MAE .native units.*", path.with_suffix(".html").read_text())
    assert len(rows) == 2
    assert all(row.endswith("<td>–</td></tr>") for row in rows)
