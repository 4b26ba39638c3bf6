"""Which of a task's images are asked: a seeded, nested part for runs that cannot afford all; and in which order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import UsageError

if TYPE_CHECKING:
    from qpibench.release import Release


def subset(release: Release, task: str, limit: int, *, role: str = "test") -> NDArray[np.int32]:
    """The first ``limit`` images of a task in an order that visits every kernel before it visits one twice.

    Kernels and the images of each kernel are shuffled by a seed that is derived from the release's content, the task
    and the role. So everybody who asks for the same number of images of a release gets the same ones, and fewer images
    are always the head of more.

    Parameters
    ----------
    release
        The release.
    task, role
        Which of its index lists.
    limit
        Number of images; all of them if there are no more.

    Returns
    -------
    ndarray
        (min(limit, images),) int32: rows of the release, in that order.

    Raises
    ------
    UsageError
        If the limit is not positive, or the release has no such task or role.
    """
    if limit < 1:
        raise UsageError(f"The limit of images per task must be at least 1, found {limit}.")
    index = np.sort(release.split(task, role))
    return stratified_order(index, release.observation_kernel[index], f"{release.content_sha256}/{task}/{role}")[:limit]


def asking_order(release: Release, task: str, limit: int | None = None) -> NDArray[np.int32]:
    """The images of a task's test role, or its subset, shuffled for asking.

    Images that are asked together share a kernel no more often than by chance, so a batch does not tell which of its
    images do; the lists of a release are sorted, and would.

    Parameters
    ----------
    release, task, limit
        As of :func:`subset`; all images of the test role if there is no limit.

    Returns
    -------
    ndarray
        (n,) int32: rows of the release, in an order that depends on its content and the task only.

    Raises
    ------
    UsageError
        As :func:`subset`.
    """
    rows = np.sort(release.split(task, "test") if limit is None else subset(release, task, limit))
    return rows[np.argsort(_philox(f"{release.content_sha256}/{task}/asked").random_raw(len(rows)), kind="stable")]


def stratified_order(index: NDArray[np.int32], kernel: NDArray[np.int32], seed: str) -> NDArray[np.int32]:
    """Order images round-robin over their kernels, both shuffled by a seed; ``kernel`` names the kernel of each."""
    philox = _philox(seed)
    kernels, row = np.unique(kernel, return_inverse=True)
    kernel_place = philox.random_raw(len(kernels))[row]
    by_kernel = np.lexsort((philox.random_raw(len(index)), row))
    first = np.searchsorted(row[by_kernel], np.arange(len(kernels)))
    visit = np.empty(len(index), dtype=np.int64)
    visit[by_kernel] = np.arange(len(index)) - first[row[by_kernel]]
    return index[np.lexsort((kernel_place, visit))]


def _philox(seed: str) -> np.random.Philox:
    # Raw words of Philox are fixed for good; what NumPy makes of them in shuffle() or choice() may change.
    return np.random.Philox(key=int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "big"))
