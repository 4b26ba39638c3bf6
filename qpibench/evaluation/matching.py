"""Matches predicted kernels with the true ones of an image with two species of scatterers.

Where the species are told, they fix the order of the kernels. Otherwise the order of predictions is free, and that with
the least score ``rel_l2_capped`` of the image counts.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import central_pixels

if TYPE_CHECKING:
    from qpibench.evaluation.predictions import Predictions
    from qpibench.release import Release

Floating = TypeVar("Floating", bound=np.floating)


def best_order(predicted: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return which predicted kernel stands for each true one, (n, species).

    It is the permutation with the least mean over species of the relative L2 error capped at 1, the image's score. Of
    equal means, that with the least mean without a cap counts, then the order as it is.

    Parameters
    ----------
    predicted, truth
        (n, species, y, x), finite; no true kernel is zero everywhere.
    """
    orders = np.array(list(permutations(range(truth.shape[1]))))
    known = truth.astype(np.float64)
    norm = np.sqrt((known**2).sum(axis=(2, 3)))
    errors = np.array([np.sqrt(((predicted[:, order] - known) ** 2).sum(axis=(2, 3))) / norm for order in orders])
    ranked = np.lexsort((errors.sum(axis=2), np.minimum(errors, 1).sum(axis=2)), axis=0)  # the last key counts first
    best: NDArray[np.intp] = orders[ranked[0]]
    return best


def in_order(kernels: NDArray[Floating], order: NDArray[np.intp]) -> NDArray[Floating]:
    """Return (n, species, y, x) with the predicted kernel for each true one in its place."""
    return kernels if order.shape[1] == 1 else np.take_along_axis(kernels, order[:, :, None, None], axis=1)


def renamed(species: NDArray[np.integer], order: NDArray[np.intp]) -> NDArray[np.int32]:
    """Return predicted species of scatterers (n, scatterer) by the number of the true one; -1 for no species."""
    count = order.shape[1]
    numbers = np.argsort(order, axis=1)
    named = (species >= 0) & (species < count)
    true_numbers = np.take_along_axis(numbers, np.where(named, species, 0), axis=1)
    return np.where(named, true_numbers, -1).astype(np.int32)


def first_of(
    values: NDArray[np.float32], predictions: Predictions, release: Release, task: str, row: int
) -> NDArray[np.float32]:
    """Return what is predicted for the first true kernel of an image, (y, x), which stands for the image in pictures.

    Parameters
    ----------
    values
        (1, y, x), or (1, species, y, x) with two species: what is predicted for the image's kernels, such as the
        kernels themselves.
    predictions, release, task
        As in :func:`~qpibench.evaluation.image_scores.score_images`.
    row
        Row of the image within the task; its prediction is finite.
    """
    if values.ndim == 3:
        values = values[:, None]
    place = 0
    if values.shape[1] > 1 and predictions.order_is_free:
        rows = slice(row, row + 1)
        truth = release.kernels.image[release.observation_kernel[predictions.index(task)[rows]]]
        known = central_pixels(truth, predictions.kernel_grid.shape)
        place = int(best_order(predictions.kernel(task, rows).astype(np.float64), known)[0, 0])
    chosen: NDArray[np.float32] = values[0, place]
    return chosen
