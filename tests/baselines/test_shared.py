"""What entries share: splines and scatterers."""

import numpy as np
import pytest
from shared.splines import periodic_splines


@pytest.mark.parametrize("size", [4, 5, 31])
def test_splines_are_the_cubic_ones_of_a_lattice_that_repeats(size):
    place = np.concatenate([np.random.default_rng(0).uniform(-3 * size, 3 * size, 200), [0, size, -1e-18, size - 1e-9]])
    distance = np.abs((place[:, None] - np.arange(size) + size / 2) % size - size / 2)
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    expected = np.where(distance < 1, near, far)
    assert periodic_splines(place, size) == pytest.approx(expected, abs=1e-12)
    assert periodic_splines(place, size).sum(axis=1) == pytest.approx(np.ones(len(place)))
