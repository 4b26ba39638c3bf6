"""What a model is given and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid

MAX_LATENT = 4096
"""Most values of a latent."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Inputs of a model: n observations, and as much about their scatterers as the view allows.

    Attributes
    ----------
    image
        (n, y, x) float32: the observations, in native units.
    activation_map
        (n, y, x) float32: where the scatterers are, as a raster; None in the view ``image``, and in the view
        ``positions`` if no map was asked for.
    position_nm
        (n, scatterer, 2) float64 padded with NaN, or None except in the view ``positions``: x and y in nm.
    grid
        Grid of the observations.
    kernel_grid
        Grid on which the kernel is wanted.
    """

    image: NDArray[np.float32]
    activation_map: NDArray[np.float32] | None
    position_nm: NDArray[np.float64] | None
    grid: Grid
    kernel_grid: Grid

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model may return instead of a bare kernel array.

    Attributes
    ----------
    kernel
        (n, y, x) floating: the kernel on ``batch.kernel_grid``, native units.
    kernel_full
        (n, 2y-1, 2x-1) floating, optional: the kernel on ``batch.grid.offsets``, which superposition needs.
    std
        (n, y, x) floating, optional: the stated standard deviation of every pixel of ``kernel``.
    species
        (n, scatterer) integer, optional: which kind each scatterer is of.
    latent
        (n, d) floating, optional: where the model's latent space has each image, d being the same for all of them and
        at most :data:`MAX_LATENT`. The report draws it, and the true kernels beside it if the model has a method
        ``encode_kernel`` that takes (kernel, y, x) float32 and returns (kernel, d); it is called when all images have
        their answer.
    """

    kernel: NDArray[np.floating]
    kernel_full: NDArray[np.floating] | None = None
    std: NDArray[np.floating] | None = None
    species: NDArray[np.integer] | None = None
    latent: NDArray[np.floating] | None = None
