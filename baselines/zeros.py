"""Zeros: predicts a kernel of zeros. A model that scores no better than this one has extracted nothing."""

import numpy as np
from numpy.typing import NDArray

from qpibench import Batch

needs = "image"


def predict(batch: Batch) -> NDArray[np.float32]:
    """Predict a kernel of zeros for every image."""
    return np.zeros((len(batch), *batch.kernel_grid.shape), dtype=np.float32)
