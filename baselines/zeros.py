"""Zeros: predicts a kernel of zeros. A model that scores no better than this one has extracted nothing."""

import numpy as np
from numpy.typing import NDArray

from qpibench import Batch

needs = "image"
takes_species = True


def predict(batch: Batch) -> NDArray[np.float32]:
    """Predict a kernel of zeros for every image, and for each species of scatterers if there are two."""
    species = (batch.species_count,) if batch.species_count > 1 else ()
    return np.zeros((len(batch), *species, *batch.kernel_grid.shape), dtype=np.float32)
