"""Check whether the processor replaces denormal numbers by zero in this thread."""

from __future__ import annotations

import numpy as np

from qpibench.arithmetic.compiled import compiled


def flushes_to_zero() -> bool:
    """Whether the processor replaces denormal results or operands by zero in the calling thread."""
    smallest_normal = np.finfo(np.float32).smallest_normal
    probe = np.array([smallest_normal, np.finfo(np.float32).smallest_subnormal], np.float32)
    return not _survives(probe)


@compiled()
def _survives(probe):  # type: ignore[no-untyped-def]
    # The numbers come from memory, so the compiler cannot evaluate the operations itself.
    result = probe[0] * np.float32(0.5)
    from_operand = probe[1] * np.float32(2.0**40)
    return result != np.float32(0) and from_operand != np.float32(0)
