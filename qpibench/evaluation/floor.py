"""The floor of a model with an autoencoder: the error of its own decoding of the true kernel's own encoding.

A model that decodes a latent cannot be expected to predict a kernel better than it decodes the kernel's own latent. The
floor is the score of those decodings in place of the predictions. The rest of the score is added by the estimate of the
latent, and of gain and offset, from the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError
from qpibench.evaluation.facts import facts_of
from qpibench.evaluation.image_scores import ImageScores
from qpibench.evaluation.metrics import Case, Metric
from qpibench.evaluation.predictions import Predictions
from qpibench.evaluation.result import Floor
from qpibench.evaluation.statistics import Statistic, bootstrap_intervals, statistic_of
from qpibench.grid import Grid, central_pixels

if TYPE_CHECKING:
    from qpibench.release import Release

_BLOCK = 64  # kernels at once


def measure_floor(
    predictions: Predictions, release: Release, images: ImageScores, metrics: Sequence[Metric]
) -> Floor | None:
    """Score the auto-encoded true kernels of a task's images, and the differences of the predictions from them.

    Parameters
    ----------
    predictions
        An open predictions file of the release.
    release
        The release.
    images
        Measured values of the predictions, see :func:`~qpibench.evaluation.image_scores.score_images`.
    metrics
        Metrics of the score. Those that use more than the true kernel are left out.

    Returns
    -------
    Floor or None
        None if the file has no auto-encoded kernels, or all metrics are left out.

    Raises
    ------
    InvalidDataError
        If the auto-encoded kernel of an image is not finite.
    """
    of_images = release.observation_kernel[images.index].reshape(len(images), -1)  # two kernels with two species
    shown, place = np.unique(of_images, return_inverse=True)
    place = place.reshape(of_images.shape)
    decoded = predictions.autoencoded(shown)
    chosen = [metric for metric in metrics if metric.always_applies]
    if decoded is None or not chosen:
        return None
    wrong = shown[~np.isfinite(decoded).all(axis=(1, 2))]
    if len(wrong):
        raise InvalidDataError(
            f"Predictions file '{predictions.path}': 'kernels/autoencoded' has NaN or infinity in row {wrong[0]}, a"
            " kernel whose images it predicts; write finite kernels or leave the array out."
        )
    # Images of the same kernel have the same value, so each kernel is measured once.
    measured = _measured(decoded, release, predictions.kernel_grid, shown, chosen)
    columns = {name: values[place] for name, values in measured.items()}
    order = np.argsort(images.index)
    floors, differences = {}, {}
    for metric in chosen:
        floor, score = (
            statistic_of(metric, {column.name: values[column.name][order] for column in metric.columns})
            for values in (columns, images.of_kernels)
        )
        floors[metric.name] = floor
        if metric.is_mean:
            differences[metric.name] = Statistic(score.values - floor.values)
    kernel = images.kernel[order]
    added = bootstrap_intervals(differences, kernel) if differences else {}
    return Floor(metrics=bootstrap_intervals(floors, kernel), added=added)


def _measured(
    decoded: NDArray[np.float32],
    release: Release,
    grid: Grid,
    shown: NDArray[np.integer],
    metrics: Sequence[Metric],
) -> dict[str, NDArray[np.float64]]:
    """Return the columns of the metrics, (kernel,) each, of decoded kernels on ``grid``."""
    measures = {column.name: column.measure for metric in metrics for column in metric.columns}
    columns = {name: np.empty(len(shown)) for name in measures}
    facts = facts_of(release)
    for start in range(0, len(shown), _BLOCK):
        rows = slice(start, start + _BLOCK)
        truth = central_pixels(release.kernels.image[shown[rows]], grid.shape)
        given = facts.of(shown[rows], ("truth",))
        case = Case(grid=grid, prediction=decoded[rows], truth=truth, **given)
        for name, measure in measures.items():
            columns[name][rows] = measure(case)
    return columns
