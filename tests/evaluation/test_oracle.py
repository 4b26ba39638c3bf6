"""The oracle predicts the best training kernel for every image."""

import numpy as np
import pytest

from qpibench.errors import UsageError
from qpibench.evaluation.oracle import nearest_kernel
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.result import ORACLE


@pytest.fixture
def path(tmp_path):
    return tmp_path / "nearest.h5"


def test_every_answer_is_the_training_kernel_of_the_least_error(memory_release, path):
    nearest_kernel(memory_release, path)
    images = memory_release.kernels.image.astype(np.float64)
    with open_predictions(path, memory_release) as predictions:
        for task in ("id", "ood"):
            training = np.unique(memory_release.observation_kernel[memory_release.split(task, "train")])
            for row, answer in zip(predictions.index(task), predictions.kernel(task), strict=True):
                truth = images[memory_release.observation_kernel[row]]
                errors = [np.linalg.norm(images[kernel] - truth) / np.linalg.norm(truth) for kernel in training]
                np.testing.assert_array_equal(answer, memory_release.kernels.image[training[np.argmin(errors)]])


def test_it_is_exact_where_the_kernels_were_seen_and_never_where_they_were_not(memory_release, path):
    nearest_kernel(memory_release, path)
    with open_predictions(path, memory_release) as predictions:
        for task, exact in (("id", True), ("ood", False)):
            truth = memory_release.kernels.image[memory_release.observation_kernel[predictions.index(task)]]
            assert (predictions.kernel(task) == truth).all(axis=(1, 2)).tolist() == [exact] * len(truth)


def test_its_file_says_that_it_knows_the_truth(memory_release, path):
    record = nearest_kernel(memory_release, path, limit=4, tasks=["ood"])
    assert (record.model.name, record.model.knows, record.limit) == ("nearest_kernel", (ORACLE,), 4)
    with open_predictions(path, memory_release) as predictions:
        assert predictions.record == record
        assert predictions.tasks == ("ood",)
        assert len(predictions.index("ood")) == 4


def test_a_task_without_training_kernels_is_refused(memory_release, path, monkeypatch):
    split = memory_release.split
    monkeypatch.setattr(memory_release, "split", lambda task, role: split(task, role)[: None if role == "test" else 0])
    with pytest.raises(UsageError, match="The training role of task 'id' of release 'memory' is empty"):
        nearest_kernel(memory_release, path)
    assert not list(path.parent.glob("*nearest*"))
