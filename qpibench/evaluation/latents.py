"""Projections of a model's latent space to two dimensions, for the figures of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qpibench.tasks.species import first_kernel

if TYPE_CHECKING:
    from qpibench.evaluation.predictions import Predictions
    from qpibench.release import Release

MAX_IMAGES = 250
"""Largest number of images shown per task."""

MAX_KERNELS = 250
"""Largest number of kernels shown."""

MIN_NEIGHBOURS = 5
"""Smallest number of points for t-SNE."""

_TSNE_SEED = 0
_PERPLEXITY = 30.0


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Points of a latent space, images before kernels.

    Attributes
    ----------
    points
        (n, d) float64, all finite.
    kernel
        (n,) index of the kernel that the point, or the point's image, shows; with two species that of the first.
    is_kernel
        (n,) bool: whether the point is a kernel's own latent; otherwise it is an image's.
    """

    points: NDArray[np.float64]
    kernel: NDArray[np.intp]
    is_kernel: NDArray[np.bool_]


def read_latents(predictions: Predictions, release: Release) -> Latents | None:
    """Read the latents of a predictions file, at most :data:`MAX_IMAGES` per task, evenly spaced in the file's order.

    Points that are not finite are left out. The function returns None if no two different points remain.
    """
    parts: list[tuple[NDArray[np.float32], NDArray[np.integer], bool]] = []
    for task in predictions.tasks:
        rows = _spread(len(predictions.index(task)), MAX_IMAGES)
        latent = predictions.latent(task, rows)
        if latent is not None:
            parts.append((latent, first_kernel(release)[predictions.index(task)[rows]], False))
    of_kernels = predictions.kernel_latent()
    if of_kernels is not None:
        chosen = _spread(len(of_kernels), MAX_KERNELS)
        parts.append((of_kernels[chosen], chosen, True))
    if not parts:
        return None
    points = np.concatenate([points for points, _, _ in parts]).astype(np.float64)
    kernel = np.concatenate([kernel for _, kernel, _ in parts]).astype(np.intp)
    is_kernel = np.concatenate([np.full(len(points), kind) for points, _, kind in parts])
    finite = np.isfinite(points).all(axis=1)
    if not finite.any() or (points[finite] == points[finite][0]).all():
        return None
    return Latents(points=points[finite], kernel=kernel[finite], is_kernel=is_kernel[finite])


def principal_components(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project points on the two directions of largest variance (principal components).

    Parameters
    ----------
    points
        (n, d), not all equal. If d is 1, the second coordinate is 0.

    Returns
    -------
    tuple
        (n, 2) coordinates about the mean, and (2,) shares of the variance. Signs are chosen such that the largest
        weight of each direction is positive.
    """
    centred = points - points.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)]
    coordinates = centred @ (directions * np.sign(largest)[:, None])[:2].T
    shares = sizes[:2] ** 2 / (sizes**2).sum()
    missing = 2 - len(shares)
    return np.pad(coordinates, ((0, 0), (0, missing))), np.pad(shares, (0, missing))


def neighbour_embedding(points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Embed points in a plane by t-SNE, (n, 2): neighbours stay near; distances between far points have no meaning.

    It starts from the principal components and runs on one thread with a fixed seed, so the same points give the same
    coordinates.

    Parameters
    ----------
    points
        (n, d), not all equal.

    Returns
    -------
    ndarray or None
        None if scikit-learn is not installed or there are fewer than :data:`MIN_NEIGHBOURS` points.

    References
    ----------
    van der Maaten and Hinton, J. Mach. Learn. Res. 9, 2579 (2008).
    """
    if len(points) < MIN_NEIGHBOURS:
        return None
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError:
        return None
    start, _ = principal_components(points)
    start *= 1e-4 / start[:, 0].std()
    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    with threadpool_limits(1):
        embedding = TSNE(perplexity=perplexity, init=start, random_state=_TSNE_SEED, method="barnes_hut")
        return np.asarray(embedding.fit_transform(points), dtype=np.float64)


def _spread(count: int, most: int) -> NDArray[np.intp]:
    """Return evenly spaced rows, at most a given number."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.intp))
