"""Inputs and predictions of a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid

MAX_LATENT = 4096
"""Largest number of values of a latent vector."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Inputs of a model: n observations, and the information about their scatterers that the view allows.

    Attributes
    ----------
    image
        (n, y, x) float32: the observations, in native units.
    activation_map
        (n, y, x) float32: the scatterers as a raster. None in the view ``image``, and in the view ``positions`` if no
        map mode is set.
    position_nm
        (n, scatterer, 2) float64: x and y of the scatterers in nm, padded with NaN. None except in the view
        ``positions``.
    grid
        Grid of the observations.
    kernel_grid
        Grid on which the kernel must be predicted.
    species
        (n, scatterer) int32: the species, 0 or 1, of the scatterer at each position, then -1. None with one species, in
        other views than ``positions``, and where the species are hidden.
    species_count
        Number of species of scatterers, 1 or 2. With two, every image shows two kernels.
    """

    image: NDArray[np.float32]
    activation_map: NDArray[np.float32] | None
    position_nm: NDArray[np.float64] | None
    grid: Grid
    kernel_grid: Grid
    species: NDArray[np.int32] | None = None
    species_count: int = 1

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction of a model with optional parts; a model may return a bare kernel array instead.

    Attributes
    ----------
    kernel
        (n, y, x) floating: the kernels on ``batch.kernel_grid``, in native units. With two species (n, species, y, x),
        the kernel of each: in the order of ``batch.species``, or in any order where the species are hidden.
    kernel_full
        (n, 2y-1, 2x-1) floating, optional: the kernels on ``batch.grid.offsets``, the lattice that superposition needs;
        with two species (n, species, 2y-1, 2x-1).
    std
        (n, y, x) floating, optional: the predicted standard deviation, 0 or more, of every pixel of ``kernel``, in its
        shape.
    species
        (n, scatterer) integer, optional: the species of the scatterer at each position, 0 or 1 for the first or the
        second kernel of the image, and -1 after the last.
    latent
        (n, d) floating, optional: the point of each image in the model's latent space. d is the same for all images and
        at most :data:`MAX_LATENT`. The report draws these points. If the model has a method ``encode_kernel`` that
        takes (kernel, y, x) float32 and returns (kernel, d), it is called after the last prediction, and the report
        also draws the points of the true kernels.
    """

    kernel: NDArray[np.floating]
    kernel_full: NDArray[np.floating] | None = None
    std: NDArray[np.floating] | None = None
    species: NDArray[np.integer] | None = None
    latent: NDArray[np.floating] | None = None
