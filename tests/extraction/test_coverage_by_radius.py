"""Coverage by radius counts each ring of pixels apart."""

import numpy as np

from benchmarks.coverage_by_radius import RINGS, coverage_by_radius


def test_rings_that_are_right_wrong_or_empty_are_told_apart():
    x = np.linspace(-1, 1, 41)
    r_nm = np.hypot(x, x[:, None])
    counted = (r_nm <= 1.0)[None] & (r_nm > 0.2)[None]  # the innermost fifth has no pixels
    truth = np.zeros((1, 41, 41))
    prediction = np.where(r_nm < 0.6, 0.0, 1.5)[None]  # beyond 1 standard deviation, within 1.96
    shares = coverage_by_radius(truth, prediction, np.ones_like(truth), counted, r_nm)
    assert shares.shape == (2, RINGS, 1)
    np.testing.assert_array_equal(shares[0, :, 0], [np.nan, 1, 1, 0, 0])
    np.testing.assert_array_equal(shares[1, :, 0], [np.nan, 1, 1, 1, 1])
