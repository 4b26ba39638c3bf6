"""Median kernel: predicts one constant kernel, the pixel-wise median of the training kernels.

The median minimises the mean absolute error over the training kernels, so this entry shows how far a model gets by
knowing what kernels look like and without looking at the image.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench import Batch


class Model:
    """Predicts the median training kernel for every image."""

    needs = "image"
    trained_on = "the release's training role"

    def fit(self, train: Any) -> None:
        """Compute the median of the training kernels; each kernel counts once, however many images show it."""
        self.kernel = np.median(train.kernels, axis=0).astype(np.float32)

    def predict(self, batch: Batch) -> NDArray[np.float32]:
        """Repeat the median kernel for every image of the batch."""
        return np.repeat(self.kernel[None], len(batch), axis=0)
