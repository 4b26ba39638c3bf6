"""Splits: shares, separation, and when a task does not exist."""

import numpy as np
import pytest

from qpibench.specs.spec import SplitSpec
from qpibench.synthesis.splits import draw_splits


def _splits(kernels, images, *, fold=(0, 2, 3, 4, 6), seed=0, **shares):
    folds = np.array([fold[k % len(fold)] for k in range(kernels)], np.int32)
    owner = np.repeat(np.arange(kernels, dtype=np.int32), images)
    return draw_splits(owner, folds, SplitSpec(**shares), seed), owner, folds


def test_the_paper_split_has_the_published_sizes():
    splits, owner, folds = _splits(100, 500)
    sizes = {(task, role): len(index) for task, roles in splits.items() for role, index in roles.items()}
    assert sizes == {
        ("id", "train"): 28_800,
        ("id", "validation"): 3_200,
        ("id", "test"): 8_000,
        ("ood", "train"): 28_800,
        ("ood", "validation"): 3_200,
        ("ood", "test"): 10_000,
    }
    unseen = np.unique(owner[splits["ood"]["test"]])
    assert np.array_equal(np.bincount(folds[unseen])[[0, 2, 3, 4, 6]], [4] * 5)


def test_roles_never_share_an_image_and_unseen_kernels_stay_unseen():
    splits, owner, _ = _splits(20, 30)
    used = np.concatenate([splits["id"][role] for role in ("train", "validation", "test")] + [splits["ood"]["test"]])
    assert np.array_equal(np.sort(used), np.arange(600))
    seen = owner[np.concatenate([splits["ood"]["train"], splits["ood"]["validation"]])]
    assert not np.intersect1d(seen, owner[splits["ood"]["test"]]).size


def test_every_training_kernel_gives_its_share_to_the_id_test():
    splits, owner, _ = _splits(20, 30)
    assert np.unique(np.bincount(owner[splits["id"]["test"]])).tolist() == [0, 6]


@pytest.mark.parametrize(("images", "shares"), [(3, {}), (2, {"id_test": 0.5}), (10, {"validation": 0.99})])
def test_every_kernel_of_the_id_test_is_seen_in_training(images, shares):
    splits, owner, _ = _splits(100, images, **shares)
    assert len(splits["id"]["test"])
    assert np.isin(owner[splits["id"]["test"]], owner[splits["id"]["train"]]).all()


def test_with_a_single_kernel_of_a_fold_there_is_no_ood_task():
    splits, _, _ = _splits(9, 10)
    assert list(splits) == ["id"]


def test_with_one_image_per_kernel_there_is_no_id_task():
    splits, _, _ = _splits(50, 1)
    assert list(splits) == ["ood"]
    assert len(splits["ood"]["test"]) == 10


@pytest.mark.parametrize("role", ["train", "validation", "test"])
def test_the_seed_decides_the_split(role):
    first, again, other = (_splits(20, 30, seed=seed)[0]["id"][role] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_all_kernels_may_be_kept_for_the_ood_test():
    splits, owner, _ = _splits(7, 3, ood_kernels=1)
    assert list(splits) == ["ood"]
    assert [len(splits["ood"][role]) for role in ("train", "validation", "test")] == [0, 0, len(owner)]
