"""White noise: the definition of its ratio, and normal numbers out of random words."""

import numpy as np
import pytest

from qpibench.arithmetic.normals import reference_normal_pair
from qpibench.corruptions.white_noise import reference, reference_sigma


def test_at_zero_db_the_noise_varies_as_much_as_the_image():
    image = np.array([[0.0, 2.0], [2.0, 0.0]])
    assert reference_sigma(image, 0.0) == 1.0
    assert reference_sigma(image, 20.0) == pytest.approx(0.1)
    assert reference_sigma(np.stack([image, 3 * image]), [10.0, 10.0]) == pytest.approx([10**-0.5, 3 * 10**-0.5])


def test_an_image_without_contrast_has_no_noise():
    image = np.full((4, 4), 0.7)
    assert np.array_equal(reference(image, 0.0, np.ones((4, 4))), image)


def test_noise_has_the_ratio_that_was_asked_for():
    rng = np.random.default_rng(1)
    clean = rng.random((3, 200, 200)) ** 2
    noisy = reference(clean, [0.0, 10.0, 30.0], rng.standard_normal(clean.shape))
    ratio = 10 * np.log10(clean.var(axis=(1, 2)) / (noisy - clean).var(axis=(1, 2)))
    assert ratio == pytest.approx([0, 10, 30], abs=0.1)


def test_angle_words_go_once_around_the_circle():
    angle_word = np.arange(2**19, 2**32, 2**20, dtype=np.uint32)
    pair = reference_normal_pair(np.stack([np.full_like(angle_word, 2**31), angle_word], axis=-1))
    assert np.hypot(*pair.T) == pytest.approx(np.sqrt(2 * np.log(2)))
    angle = np.sort(np.arctan2(pair[:, 1], pair[:, 0]))
    assert np.diff(angle) == pytest.approx(2 * np.pi / len(angle), abs=1e-9)


def test_radius_words_give_every_radius_the_weight_of_a_normal_distribution():
    radius_word = np.arange(0, 2**32, 2**20, dtype=np.uint32)
    radius = np.hypot(*reference_normal_pair(np.stack([radius_word, np.zeros_like(radius_word)], axis=-1)).T)
    share_beyond = (np.arange(len(radius)) + 0.5 / 2**20) / len(radius)
    assert np.exp(-(radius**2) / 2) == pytest.approx(share_beyond, abs=1e-12)
    assert reference_normal_pair(np.zeros(2, np.uint32)) == pytest.approx([np.sqrt(66 * np.log(2)), 0])
