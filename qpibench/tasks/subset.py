"""Chooses the images of a task that a model gets (all, or a seeded and nested subset), and their order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import UsageError
from qpibench.tasks.species import first_kernel

if TYPE_CHECKING:
    from qpibench.release import Release


def subset(release: Release, task: str, limit: int, *, role: str = "test") -> NDArray[np.int32]:
    """Choose ``limit`` images of a task, spread evenly over the kernels.

    The images are the first ones of a shuffled order in which every kernel occurs once before one occurs twice. The
    seed follows from the release's content hash, the task and the role, so the same limit always gives the same images,
    and a smaller subset is the beginning of a larger one.

    Parameters
    ----------
    release
        The release.
    task, role
        Task and role whose images are chosen.
    limit
        Number of images; all of them if the role has no more.

    Returns
    -------
    ndarray
        (min(limit, images),) int32: rows of the release, in the shuffled order.

    Raises
    ------
    UsageError
        If the limit is not positive, or the release has no such task or role.
    """
    check_limit(limit)
    index = np.sort(release.split(task, role))
    return stratified_order(index, first_kernel(release)[index], f"{release.content_sha256}/{task}/{role}")[:limit]


def asking_order(release: Release, task: str, limit: int | None = None) -> NDArray[np.int32]:
    """Order in which a model gets the images of a task's test role, or of a subset of it.

    The order is shuffled. In the sorted index lists of a release neighbours share a kernel, so the composition of a
    batch would reveal which of its images show the same kernel.

    Parameters
    ----------
    release, task, limit
        As in :func:`subset`; all images of the test role if the limit is None.

    Returns
    -------
    ndarray
        (n,) int32: rows of the release, in an order that depends only on its content hash and the task.

    Raises
    ------
    UsageError
        As :func:`subset`.
    """
    rows = np.sort(release.split(task, "test") if limit is None else subset(release, task, limit))
    return rows[np.argsort(_philox(f"{release.content_sha256}/{task}/asked").random_raw(len(rows)), kind="stable")]


def stratified_order(index: NDArray[np.int32], kernel: NDArray[np.int32], seed: str) -> NDArray[np.int32]:
    """Order images round-robin over their kernels, both shuffled by a seed; `kernel` is the kernel of each image."""
    philox = _philox(seed)
    kernels, row = np.unique(kernel, return_inverse=True)
    kernel_place = philox.random_raw(len(kernels))[row]
    by_kernel = np.lexsort((philox.random_raw(len(index)), row))
    first = np.searchsorted(row[by_kernel], np.arange(len(kernels)))
    visit = np.empty(len(index), dtype=np.int64)
    visit[by_kernel] = np.arange(len(index)) - first[row[by_kernel]]
    return index[np.lexsort((kernel_place, visit))]


def _philox(seed: str) -> np.random.Philox:
    # The raw words of Philox never change; the algorithms of shuffle() and choice() may change with NumPy.
    return np.random.Philox(key=int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "big"))


def check_limit(limit: int) -> None:
    """Refuse a number of images that is no limit.

    Raises
    ------
    UsageError
        If the limit is not positive.
    """
    if limit < 1:
        raise UsageError(f"The limit of images per task must be at least 1, found {limit}.")
