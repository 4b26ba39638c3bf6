"""When two answers to the same images are one answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-4
"""How far two answers to the same image may be apart, relative to the largest value of the first.

A convolution in float32 adds its terms in another order for another number of images. Through all layers of the learned
entries that makes up to 2e-5 of the largest value, measured on a CPU with 1, 3, 8 and 25 images, and somewhat more in
deeper networks and on GPUs. The limit is below the three digits that a score shows, so nothing is gained below it,
while a model that looks at its batch mates differs by far more.
"""


def difference(first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]], how: str) -> str | None:
    """How two answers to the same images differ by more than :data:`TOLERANCE`: a clause, or None."""
    if first.keys() != second.keys():
        return f"the answer has {', '.join(first)} once and {', '.join(second)} {how}"
    for name, array in first.items():
        apart = np.max(np.abs(second[name].astype(np.float64) - array.astype(np.float64)))
        scale = np.max(np.abs(array))
        if not apart <= TOLERANCE * scale:
            return f"the {name} differs by {apart:.3g} {how}, where its largest value is {scale:.3g}"
    return None
