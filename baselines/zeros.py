"""Zeros: the entry that looks at nothing. A model that is not better than this one has found nothing."""

import numpy as np
from numpy.typing import NDArray

from qpibench import Batch

needs = "image"


def predict(batch: Batch) -> NDArray[np.float32]:
    """Answer every image with a kernel of zeros."""
    return np.zeros((len(batch), *batch.kernel_grid.shape), dtype=np.float32)
