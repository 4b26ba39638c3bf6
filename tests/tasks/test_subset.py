"""The images of a limited run: the same for everybody, spread over the kernels, fewer always the head of more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpibench.errors import UsageError
from qpibench.tasks import asking_order, subset
from qpibench.tasks.subset import stratified_order


class SplitRelease:
    """As much of a release as a subset needs: 5 kernels of 4 images."""

    content_sha256 = "ab" * 32
    observation_kernel = np.repeat(np.arange(5, dtype=np.int32), 4)

    def split(self, task, role):
        if (task, role) == ("id", "test"):
            return np.arange(20, dtype=np.int32)
        if (task, role) == ("id", "train"):
            return np.arange(0, 20, 2, dtype=np.int32)
        raise UsageError(f"no {task}/{role}")


kernels = st.lists(st.integers(0, 6), min_size=1, max_size=60)


@given(kernels, st.text(max_size=5))
def test_the_order_holds_every_image_once(kernel, seed):
    index = np.arange(100, 100 + len(kernel), dtype=np.int32)
    order = stratified_order(index, np.array(kernel, dtype=np.int32), seed)
    assert sorted(order) == index.tolist()
    assert order.dtype == np.int32


@given(kernels, st.text(max_size=5))
def test_no_kernel_is_visited_again_before_all_that_have_images_left(kernel, seed):
    kernel = np.array(kernel, dtype=np.int32)
    order = stratified_order(np.arange(len(kernel), dtype=np.int32), kernel, seed)
    left = dict(zip(*np.unique(kernel, return_counts=True), strict=True))
    visits = kernel[order].tolist()
    while visits:
        turn, visits = visits[: len(left)], visits[len(left) :]
        assert set(turn) == set(left)
        left = {k: n - 1 for k, n in left.items() if n > 1}


def test_fewer_images_are_the_head_of_more():
    release = SplitRelease()
    everything = subset(release, "id", 1000)
    assert len(everything) == 20
    for limit in range(1, 21):
        assert subset(release, "id", limit).tolist() == everything[:limit].tolist()


def test_the_order_is_the_same_on_every_machine_and_version():
    assert subset(SplitRelease(), "id", 10).tolist() == [2, 11, 18, 7, 13, 3, 10, 17, 4, 15]


def test_it_depends_on_the_content_the_task_and_the_role():
    release, other = SplitRelease(), SplitRelease()
    other.content_sha256 = "cd" * 32
    assert subset(release, "id", 20).tolist() != subset(other, "id", 20).tolist()
    assert set(subset(release, "id", 20, role="train")) == set(release.split("id", "train").tolist())


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(UsageError, match=f"at least 1, found {limit}"):
        subset(SplitRelease(), "id", limit)


class SortedRelease:
    """30 kernels of 40 images, in runs of one kernel."""

    content_sha256 = "ab" * 32
    observation_kernel = np.repeat(np.arange(30, dtype=np.int32), 40)

    def split(self, task, role):
        return np.arange(1200, dtype=np.int32)


@pytest.mark.parametrize("limit", [None, 600])
@pytest.mark.parametrize("apart", [1, 2, 30])
def test_images_that_are_asked_together_share_a_kernel_no_more_than_by_chance(limit, apart):
    release = SortedRelease()
    kernel = release.observation_kernel[asking_order(release, "ood", limit)]
    assert 0.01 < np.mean(kernel[apart:] == kernel[:-apart]) < 0.06  # chance is 1 in 30


def test_what_is_asked_is_the_test_role_or_its_subset():
    release = SortedRelease()
    assert sorted(asking_order(release, "ood")) == list(range(1200))
    assert sorted(asking_order(release, "ood", 7)) == sorted(subset(release, "ood", 7))
    assert asking_order(release, "ood").tolist() == asking_order(release, "ood").tolist()
