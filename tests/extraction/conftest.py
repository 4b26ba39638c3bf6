"""Fixtures of the tests of the measurement of extraction entries."""

from __future__ import annotations

import pytest

from benchmarks.fresh_draws import CELLS, draw


@pytest.fixture(scope="session")
def noisy():
    """Five noisy images of eq. 7 with their truth and bound, one of each fold."""
    return draw(CELLS["noise"], 5)
