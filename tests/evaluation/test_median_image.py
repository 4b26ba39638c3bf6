"""The median image of a task is kept in the result, small, and is checked like a number."""

import base64
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from qpibench.evaluation.median_image import MedianImage, median_image
from qpibench.evaluation.predict import predict
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.result_differences import compare_results
from qpibench.evaluation.score import score


@pytest.fixture
def scored(mini_release, tmp_path):
    """The result of the median kernel, and its predictions."""
    path = tmp_path / "predictions.h5"
    predict("median_kernel", mini_release, path)
    return score(path, mini_release), path


def test_it_is_the_image_whose_error_is_the_median_with_the_truth_and_the_prediction(mini_release, scored):
    result, path = scored
    part = result.cells["ood"].parts[0]
    median = part.median_image
    assert abs(median.error - part.metrics["rel_l2_median"].value) < 0.2
    truth = mini_release.kernels.image[mini_release.observation_kernel[median.observation]]
    with open_predictions(path, mini_release) as predictions:
        predicted = predictions.kernel("ood")[list(predictions.index("ood")).index(median.observation)]
    assert median.error == pytest.approx(np.linalg.norm(predicted - truth) / np.linalg.norm(truth))
    span = truth.max() - truth.min()
    for picture, kernel in zip(median.pictures()[1:], (truth, predicted), strict=True):
        np.testing.assert_allclose(picture / 255, np.clip((kernel - truth.min()) / span, 0, 1), atol=0.003)


def test_large_images_become_small():
    large = np.random.default_rng(0).random((1, 256, 130), dtype=np.float32)
    release = SimpleNamespace(
        observation_kernel=np.zeros(9, np.int32),
        kernels=SimpleNamespace(image=large),
        image=lambda rows: large,
        check=lambda field: None,
    )
    predictions = SimpleNamespace(index=lambda task: np.arange(9), kernel=lambda task, rows: 2 * large)
    errors = np.array([np.nan, 0.3, 0.1, 0.2, np.nan, np.nan, np.nan, np.nan, np.nan])
    median = median_image(predictions, release, "id", errors, lower_is_worse=False)
    assert (median.observation, median.error, median.ny, median.nx) == (3, 0.2, 64, 32)
    assert len(median.pixels) < 15_000
    assert median_image(predictions, release, "id", np.full(9, np.nan), lower_is_worse=False) is None


def changed(median, **update):
    return MedianImage.model_validate(median.model_dump() | update)


def encoded(pixels):
    return base64.b64encode(zlib.compress(np.asarray(pixels, np.uint8).tobytes())).decode()


def test_other_pictures_are_a_difference_and_rounding_is_none(scored):
    result, _ = scored
    median = result.cells["id"].parts[0].median_image

    def with_pictures(pixels):
        cell = result.cells["id"]
        part = cell.parts[0].model_copy(update={"median_image": changed(median, pixels=encoded(pixels))})
        return result.model_copy(update={"cells": result.cells | {"id": cell.model_copy(update={"parts": (part,)})}})

    rounded = np.clip(median.pictures().astype(int) + 1, 0, 255)
    assert compare_results(with_pictures(rounded), result) == []
    better = median.pictures()[[0, 1, 1]]
    assert compare_results(with_pictures(better), result) == [
        "cells.id.parts[0].median_image shows other pictures in the stored result."
    ]


@pytest.mark.parametrize("pixels", ["no Base64", "AAAA", encoded(np.zeros(5)), encoded(np.zeros(10**6))])
def test_pixels_that_are_none_or_too_many_are_refused(scored, pixels):
    median = scored[0].cells["id"].parts[0].median_image
    with pytest.raises(ValidationError, match="pixels"):
        changed(median, pixels=pixels)
