"""Comparison of two predictions for the same images, within the rounding of float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-4
"""Largest difference of two predictions for the same image, relative to the largest value of the first.

The order in which a float32 convolution adds its terms depends on the number of images in the batch. Over all layers of
the learned entries this changes predictions by up to 2e-5 of the largest value, measured on a CPU with 1, 3, 8 and 25
images; deeper networks and GPUs change them somewhat more. The limit is smaller than the three digits that a score
shows, and a model that uses the other images of its batch differs by far more.
"""


def difference(first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]], how: str) -> str | None:
    """Describe how two predictions for the same images differ by more than :data:`TOLERANCE`; None if they agree."""
    if first.keys() != second.keys():
        return f"the prediction has {', '.join(first)} once and {', '.join(second)} {how}"
    for name, array in first.items():
        apart = np.max(np.abs(second[name].astype(np.float64) - array.astype(np.float64)))
        scale = np.max(np.abs(array))
        if not apart <= TOLERANCE * scale:
            return f"the {name} differs by {apart:.3g} {how}, where its largest value is {scale:.3g}"
    return None
