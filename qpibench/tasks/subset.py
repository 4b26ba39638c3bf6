"""A seeded, nested part of a task's images, for runs that cannot afford all of them."""

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


def stratified_order(index: NDArray[np.int32], kernel: NDArray[np.int32], seed: str) -> NDArray[np.int32]:
    """Order images round-robin over their kernels, both shuffled by a seed; ``kernel`` names the kernel of each."""
    # Raw words of Philox are fixed for good; what NumPy makes of them in shuffle() or choice() may change.
    philox = np.random.Philox(key=int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "big"))
    kernels, row = np.unique(kernel, return_inverse=True)
    kernel_place = philox.random_raw(len(kernels))[row]
    by_kernel = np.lexsort((philox.random_raw(len(index)), row))
    first = np.searchsorted(row[by_kernel], np.arange(len(kernels)))
    visit = np.empty(len(index), dtype=np.int64)
    visit[by_kernel] = np.arange(len(index)) - first[row[by_kernel]]
    return index[np.lexsort((kernel_place, visit))]
