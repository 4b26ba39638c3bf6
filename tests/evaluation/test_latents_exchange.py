"""Latents go from the model to the predictions file; the model receives the true kernels after its last prediction."""

import re

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError
from qpibench.evaluation.check import check
from qpibench.evaluation.execution import Execution
from qpibench.evaluation.predict import Request, predict
from qpibench.evaluation.predictions import open_predictions


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.h5"


MODEL = """
import numpy as np
from qpibench import Prediction

class Model:
    kernels_seen = False

    def predict(self, batch):
        rows = batch.image.reshape(len(batch), -1)
        kernel = np.full(batch.image.shape, float(self.kernels_seen), np.float32)
        return Prediction(kernel=kernel, latent=rows[:, :3])

    def encode_kernel(self, kernels):
        self.kernels_seen = True
        return kernels.reshape(len(kernels), -1)[:, :3].astype(np.float64)
"""


def test_latents_of_images_and_kernels_are_kept(memory_release, path, write_model):
    outcome = predict(write_model(MODEL), memory_release, path)
    assert outcome.warnings == ()
    with open_predictions(path, memory_release) as predictions:
        assert predictions.tasks == ("id", "ood")
        for task in predictions.tasks:
            images = memory_release.image(predictions.index(task))
            np.testing.assert_array_equal(predictions.latent(task), images.reshape(len(images), -1)[:, :3])
            # No answer was given after the model had seen the kernels.
            assert not predictions.kernel(task).any()
        kernels = memory_release.kernels.image
        np.testing.assert_array_equal(predictions.kernel_latent(), kernels.reshape(len(kernels), -1)[:, :3])


def test_kernels_are_encoded_as_many_at_a_time_as_images_are_asked(memory_release, path, write_model):
    source = MODEL.replace("self.kernels_seen = True", "assert len(kernels) <= 4").replace("[:, :3]", "[:, :2]")
    predict(write_model(source), memory_release, path, execution=Execution(batch_size=4))
    with open_predictions(path, memory_release) as predictions:
        kernels = memory_release.kernels.image
        np.testing.assert_array_equal(predictions.kernel_latent(), kernels.reshape(len(kernels), -1)[:, :2])


def test_a_file_without_latents_has_none(memory_release, path):
    predict("zeros", memory_release, path)
    with open_predictions(path, memory_release) as predictions:
        assert predictions.latent("id") is None
        assert predictions.kernel_latent() is None


def test_functions_of_a_file_may_encode_kernels_too(memory_release, path, write_model):
    model = write_model(
        """
        import numpy as np

        def predict(batch):
            return np.zeros(batch.image.shape, np.float32)

        def encode_kernel(kernels):
            return kernels.mean(axis=(1, 2))[:, None]
        """
    )
    predict(model, memory_release, path)
    with open_predictions(path, memory_release) as predictions:
        assert predictions.kernel_latent().shape == (6, 1)
        assert predictions.latent("id") is None


@pytest.mark.parametrize(
    ("encode", "sentence"),
    [
        ("raise ValueError('no space')", "The kernels have no latents: .*ValueError: no space"),
        ("return kernels", r"encode_kernel returned latents of shape \(6, 12, 10\), expected \(6, d\)"),
        ("return kernels[1:].mean(axis=1)", r"of shape \(5, 10\), expected \(6, d\) with d from 1 to 4096"),
        ("return kernels.mean(axis=1)", "those of images and kernels differ in size, 3, 10"),
        ("return kernels.mean(axis=1).astype(int)", "latents of type int64, expected float16, float32 or float64"),
        ("return None", "encode_kernel returned None"),
        ("import os; os._exit(3)", "ended with exit code 3 during encode_kernel"),
    ],
)
def test_kernels_that_cannot_be_encoded_spoil_no_answer(memory_release, path, write_model, encode, sentence):
    source = MODEL[: MODEL.index("        self.kernels_seen = True")] + f"        {encode}\n"
    outcome = predict(write_model(source), memory_release, path)
    assert outcome.exit_code == 0
    (warning,) = outcome.warnings
    assert re.search(sentence, warning), warning
    with open_predictions(path, memory_release) as predictions:
        assert predictions.kernel_latent() is None
        assert predictions.latent("ood").shape == (20, 3)


@pytest.mark.parametrize(
    ("latent", "sentence"),
    [
        ("rows[:1]", r"predict returned a latent of shape \(1, 120\), expected \(20, d\) with d from 1 to 4096"),
        ("rows[:, :0]", r"a latent of shape \(20, 0\)"),
        ("np.zeros((len(batch), 4097))", r"a latent of shape \(20, 4097\)"),
        ("rows.astype(int)", "a latent of type int64, expected float16, float32 or float64"),
        ("'far'", "the Prediction's latent is an object of type str"),
        ("rows[:, :len(batch)]", "a latent of 12 values, after 20 before"),
    ],
)
def test_a_latent_that_is_none_ends_the_model_like_any_wrong_answer(
    memory_release, path, write_model, latent, sentence
):
    outcome = predict(
        write_model(MODEL.replace("rows[:, :3]", latent)),
        memory_release,
        path,
        Request(tasks=["ood", "id"]),
        Execution(batch_size=32),
    )
    assert outcome.exit_code == 1
    assert outcome.record.failure.kind == "prediction"
    assert re.search(sentence, outcome.record.failure.message), outcome.record.failure.message


def test_check_tells_a_latent_that_depends_on_its_batch_mates(write_model):
    source = MODEL.replace("rows[:, :3]", "rows[:, :3] - rows[:, :3].mean(axis=0)")
    problems = [finding.problem for finding in check(write_model(source)) if finding.problem]
    assert len(problems) == 1
    assert "the latent differs by" in problems[0]
    assert not any(finding.problem for finding in check(write_model(MODEL)))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("id/latent", np.ones((11, 3)), r"'id/latent' must have the shape \(12, 3\), found \(11, 3\)"),
        ("id/latent", np.ones(12), r"'id/latent' must be floating point of shape \(12, d\)"),
        ("id/latent", np.ones((12, 3), int), r"'id/latent' must be floating point"),
        ("kernels/latent", np.ones((5, 3)), r"'kernels/latent' must have the shape \(6, 3\), found \(5, 3\)"),
        ("kernels/latent", np.ones((6, 4)), r"'kernels/latent' must have the shape \(6, 3\), found \(6, 4\)"),
        ("kernels/other", np.ones((6, 3)), r"'kernels/latent' must be floating point of shape \(6, d\)"),
    ],
)
def test_latents_that_do_not_fit_the_release_or_each_other_are_refused(
    memory_release, path, write_model, name, value, sentence
):
    predict(write_model(MODEL), memory_release, path, Request(tasks=["id"]))
    with h5py.File(path, "r+") as file:
        del file[name.split("/")[0] + "/latent"]
        file[name] = value
        if name == "id/latent":
            file.move("kernels", "id/out of the way")
    with pytest.raises(InvalidDataError, match=sentence):
        open_predictions(path, memory_release)
