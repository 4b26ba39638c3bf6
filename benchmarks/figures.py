"""The values of all rounds, summarised as a figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qpibench.throughput.history import Figure


def figure(name: str, what: str, unit: str, values: ArrayLike, **wanted: Any) -> Figure:
    """Summarise the values of all rounds, one or more; `wanted` is the target or what is better, as in `Wanted`."""
    low, value, high = (float(q) for q in np.quantile(np.asarray(values, dtype=np.float64), (0.25, 0.5, 0.75)))
    rounds = np.size(values)
    return Figure(name=name, what=what, unit=unit, value=value, low=low, high=high, rounds=rounds, **wanted)
