"""Whether this thread's processor mode replaces denormal numbers by zero."""

from __future__ import annotations

import numba as nb
import numpy as np


def flushes_to_zero() -> bool:
    """Whether results or operands that are denormal count as zero in the calling thread."""
    smallest_normal = np.finfo(np.float32).smallest_normal
    probe = np.array([smallest_normal, np.finfo(np.float32).smallest_subnormal], np.float32)
    return not _survives(probe)


@nb.njit(cache=True)
def _survives(probe):  # type: ignore[no-untyped-def]
    # The numbers come from memory, so the compiler cannot work the answer out beforehand.
    made = probe[0] * np.float32(0.5)
    used = probe[1] * np.float32(2.0**40)
    return made != np.float32(0) and used != np.float32(0)
