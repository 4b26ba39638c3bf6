"""The processor mode that would change bits is noticed."""

import pytest

from qpibench.arithmetic.flush import flushes_to_zero

torch = pytest.importorskip("torch")


def test_flush_to_zero_is_noticed_and_its_absence_too():
    assert not flushes_to_zero()
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor has no flush-to-zero mode that torch can set")
    try:
        assert flushes_to_zero()
    finally:
        torch.set_flush_denormal(False)
