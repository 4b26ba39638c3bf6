"""Models for one size of images, which declare ``takes_pixels``."""

from __future__ import annotations

import pytest

from qpibench.errors import InvalidDataError
from qpibench.evaluation.check import check
from qpibench.evaluation.predict import UnmetNeedError, predict

MODEL = """
    import numpy as np

    takes_pixels = (64, 64)

    def predict(batch):
        assert batch.image.shape[1:] == takes_pixels
        return np.zeros_like(batch.image)
"""


def test_a_model_gets_images_of_the_pixels_that_it_takes(mini_release, write_model, tmp_path):
    assert predict(write_model(MODEL), mini_release, tmp_path / "p.h5").record.failure is None


def test_images_of_other_pixels_are_refused_in_one_sentence(mini_release, write_model, tmp_path):
    model = write_model(MODEL.replace("(64, 64)", "(8, 8)"))
    with pytest.raises(UnmetNeedError, match="takes images and kernels of 8 x 8 pixels only"):
        predict(model, mini_release, tmp_path / "p.h5")
    assert not (tmp_path / "p.h5").exists()


@pytest.mark.parametrize("value", ["64", "(64,)", "(64, 0)", "(64.0, 64)", "[True, 64]"])
def test_a_declaration_that_is_no_size_is_refused(mini_release, write_model, tmp_path, value):
    with pytest.raises(InvalidDataError, match="must be two positive integers, rows and columns"):
        predict(write_model(MODEL.replace("(64, 64)", value)), mini_release, tmp_path / "p.h5")


def test_the_check_of_a_model_uses_the_pixels_that_it_takes(write_model):
    findings = check(write_model(MODEL.replace("(64, 64)", "(24, 16)")))
    assert len(findings) > 3
    assert not any(finding.problem for finding in findings)
