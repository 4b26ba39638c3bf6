"""Blocks of pixels that are held out choose the weights of a deconvolution."""

import numpy as np
import pytest
from shared.held_out import held_out, most


@pytest.mark.parametrize("shape", [(24, 24), (18, 31)])
def test_about_a_quarter_of_the_pixels_that_can_be_used_is_held_out(shape):
    seen = np.ones(shape, bool)
    seen[0, 0] = False
    held = held_out(seen)
    assert 0.15 < held.mean() < 0.35
    assert not held[0, 0]


def test_held_out_pixels_lie_in_blocks_of_a_sixth_of_the_field():
    blocks = held_out(np.ones((24, 36), bool)).reshape(6, 4, 6, 6)
    assert (blocks.all(axis=(1, 3)) == blocks.any(axis=(1, 3))).all()


@pytest.mark.parametrize(
    ("errors", "chosen"),
    [([4, 2, 1, 3], 0.1), ([1.04, 1.0, 1.1, 0.1], 1.0), ([3, 2, 1.5, 1], 0.03), ([1, 2, 0, 0], 1.0)],
)
def test_the_first_candidate_is_taken_that_is_not_clearly_worse_than_the_best(errors, chosen):
    candidates = [1.0, 0.3, 0.1, 0.03]
    assert most(candidates, lambda each: errors[candidates.index(each)]) == chosen
