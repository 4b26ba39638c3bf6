"""Median kernel: the best constant answer. It learns the median of the training kernels, pixel by pixel.

The median minimises the mean absolute error over the training kernels, so this entry shows how far a model gets by
knowing what kernels look like and without looking at the image.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench import Batch


class Model:
    """Answers every image with the median training kernel."""

    needs = "image"
    trained_on = "the release's training role"

    def fit(self, train: Any) -> None:
        """Learn the median of the training kernels, every kernel counted once."""
        self.kernel = np.median(train.kernels, axis=0).astype(np.float32)

    def predict(self, batch: Batch) -> NDArray[np.float32]:
        """Repeat it for every image."""
        return np.repeat(self.kernel[None], len(batch), axis=0)
