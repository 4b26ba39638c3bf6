"""Summary of the values of all rounds: median, quartiles, unit and target."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qpibench.throughput.history import Figure


def figure(name: str, what: str, unit: str, values: ArrayLike, **wanted: Any) -> Figure:
    """Summarise the values of one or more rounds; `wanted` is a target or a direction, as in `Wanted`."""
    low, value, high = (float(q) for q in np.quantile(np.asarray(values, dtype=np.float64), (0.25, 0.5, 0.75)))
    rounds = np.size(values)
    return Figure(name=name, what=what, unit=unit, value=value, low=low, high=high, rounds=rounds, **wanted)
