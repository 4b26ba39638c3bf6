"""Splits of a release into training, validation and test roles, which are written into its file.

As in arXiv 2506.05325, a share of the kernels of each stratum (in eq. 7, the fold) is kept for the OOD test. Of the
images of each other kernel a share is the ID test; of the remaining images a share is the validation role, and the rest
is the training role. Both tasks have the same training and validation roles. A kernel with images in the ID test also
has one in the training role. ``docs/format.md`` states each step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.philox import words
from qpibench.arithmetic.streams import stream_key
from qpibench.specs.spec import SplitSpec

Splits = dict[str, dict[str, NDArray[np.int32]]]


def draw_splits(
    observation_kernel: NDArray[np.int32], stratum: NDArray[np.int32], fractions: SplitSpec, seed: int
) -> Splits:
    """Index lists by task and role.

    Parameters
    ----------
    observation_kernel
        (observation,) kernel of every observation.
    stratum
        (kernel,) stratum of every kernel; OOD kernels are drawn from each stratum.
    fractions, seed
        Shares of the splits, and the release's seed.

    Returns
    -------
    dict
        ``{"id": {"train", "validation", "test"}, "ood": {...}}``, sorted int32 indices. ``ood`` exists only if each
        stratum that occurs has at least two kernels or all kernels are kept for it, ``id`` only if a kernel has enough
        images for a test.
    """
    held_out = _held_out_kernels(stratum, fractions.ood_kernels, seed)
    unseen = np.isin(observation_kernel, held_out)
    pool = np.flatnonzero(~unseen)
    shuffled = pool[_order(len(pool), seed, "split images")]
    # The stable sort by kernel keeps the shuffled order of each kernel's images; the first of them are its ID test.
    by_kernel = shuffled[np.argsort(observation_kernel[shuffled], kind="stable")]
    _, first, size = np.unique(observation_kernel[by_kernel], return_index=True, return_counts=True)
    place = np.arange(len(by_kernel)) - np.repeat(first, size)
    tested = np.repeat(np.minimum(_share(size, fractions.id_test), size - 1), size)
    in_test = place < tested
    rest = by_kernel[~in_test]
    # A kernel with an ID test keeps one image for training, because ID tests ask for seen kernels.
    free = by_kernel[~in_test & ((place > tested) | (tested == 0))]
    free = free[_order(len(free), seed, "split validation")]
    validation = free[: int(_share(np.array(len(rest)), fractions.validation))]
    train = np.setdiff1d(rest, validation)
    common = {"train": _sorted(train), "validation": _sorted(validation)}
    tests = {"id": by_kernel[in_test], "ood": np.flatnonzero(unseen)}
    return {task: {**common, "test": _sorted(test)} for task, test in tests.items() if len(test)}


def _held_out_kernels(stratum: NDArray[np.int32], fraction: float, seed: int) -> NDArray[np.int64]:
    if fraction == 1:
        return np.arange(len(stratum))
    members = [np.flatnonzero(stratum == value) for value in np.unique(stratum)]
    if fraction == 0 or any(len(kernels) < 2 for kernels in members):
        return np.empty(0, np.int64)
    order = _order(len(stratum), seed, "split kernels")
    rank = np.empty(len(stratum), np.int64)
    rank[order] = np.arange(len(stratum))
    chosen = []
    for kernels in members:
        count = min(max(1, int(_share(np.array(len(kernels)), fraction))), len(kernels) - 1)
        chosen.append(kernels[np.argsort(rank[kernels])][:count])
    return np.concatenate(chosen)


def _share(size: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """The given fraction of each size, rounded to the nearest integer, halves up."""
    share: NDArray[np.int64] = np.floor(size * fraction + 0.5).astype(np.int64)
    return share


def _order(count: int, seed: int, tag: str) -> NDArray[np.int64]:
    """A seeded permutation: places sorted by random 64-bit words; places with equal words keep their order."""
    keys: NDArray[np.uint64] = _sort_keys(stream_key("benchmark", seed, tag), count)
    order: NDArray[np.int64] = np.argsort(keys, kind="stable")
    return order


def _sorted(indices: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.sort(indices).astype(np.int32)


@compiled()
def _sort_keys(key, count):  # type: ignore[no-untyped-def]
    keys = np.empty(count, np.uint64)
    for index in range(count):
        low, high, _, _ = words(key, 0, 0, index)
        keys[index] = np.uint64(low) | (np.uint64(high) << np.uint64(32))
    return keys
