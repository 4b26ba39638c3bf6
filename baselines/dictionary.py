"""Dictionary: predicts the training kernel whose superposition leaves the least of the image.

With the training kernels K_k and the scatterers r_s, of strengths w_s, the entry chooses

    k = argmin_k sum_p W_p (Y_p - sum_s w_s K_k(p - r_s))^2

and predicts K_k at its native amplitude, neither scaled nor mixed with others. The scatterers may lie anywhere between
the pixels: the kernel between its pixels is the cubic spline through them.

A kernel is known on its window only, and is taken as 0 beyond. A pixel to which distant scatterers contribute through
the unknown part therefore says less, and has a weight W_p: the share of the scatterers in whose windows it lies. Where
the window is as large as the field, the middle has the weight 1 and a corner about 1/4. Pixels that no window covers
are the same for all kernels and have the weight 0, as have pixels that are NaN.

The superpositions of all kernels are one batch of Fourier transforms; those of the kernels themselves are kept.
For images of training kernels the choice is exact, so the task `id` is a classification. For other kernels the error is
that of a near training kernel. Source: least squares over a finite set, as in matching by a library of templates.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from shared.deconvolution import spline_response, spread_of
from shared.extractor import Extraction, Extractor, Observation

from qpibench.grid import Grid

MARGIN = 4
"""Pixels of the lattice beyond field and window, the width of a cubic B-spline."""


class Model(Extractor):
    """Chooses the training kernel of least residual.

    Parameters
    ----------
    power
        Power of the share of covering windows that weighs a pixel; 0 weighs all covered pixels alike.
    """

    knows: ClassVar = ["training kernels"]
    trained_on = "the release's training role"

    def __init__(self, *, power: float = 1.0) -> None:
        self.power = power
        self.kernels: NDArray[np.float32] | None = None
        self._transforms: tuple[tuple[int, int], NDArray[np.complex64]] | None = None

    def fit(self, train: Any) -> None:
        """Keep the training kernels, each once."""
        self.kernels = np.asarray(train.kernels, dtype=np.float32)
        self._transforms = None

    def extract(self, observation: Observation) -> Extraction:
        """Choose a kernel; ``index`` in the diagnostics is its number among the training kernels, and ``residual`` the
        weighted norm of the residual over that of the image, for every training kernel.

        Raises
        ------
        ValueError
            If the entry has no training kernels or they are on another grid, or if no pixel that can be used lies in
            the window of a scatterer.
        """
        kernels = self._kernels_on(observation.kernel_grid)
        weight = self._weights(observation, kernels.shape[1:])
        if not weight.any():
            raise ValueError("no pixel that can be used lies in the window of a scatterer, so no kernel can be chosen")
        image = np.where(observation.seen, observation.image, 0)
        weights = weight.ravel().astype(np.float64)
        left = ((image - self._superposed(observation, kernels)) ** 2).reshape(len(kernels), -1) @ weights
        index, energy = int(np.argmin(left)), float(image.ravel() ** 2 @ weights)
        return Extraction(
            kernel=kernels[index].astype(np.float64),
            kernel_full=_on_offsets(kernels[index], observation.grid),
            diagnostics={"index": index, "residual": np.sqrt(left / (energy or 1.0))},
        )

    def _kernels_on(self, grid: Grid) -> NDArray[np.float32]:
        if self.kernels is None or not len(self.kernels):
            raise ValueError("the dictionary has no training kernels: call fit with a release before predict")
        if self.kernels.shape[1:] != grid.shape:
            found = " x ".join(map(str, self.kernels.shape[1:]))
            wanted = " x ".join(map(str, grid.shape))
            raise ValueError(f"the training kernels have {found} pixels, but kernels of {wanted} are wanted")
        return self.kernels

    def _superposed(self, observation: Observation, kernels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images (kernel, y, x) of all kernels at the scatterers of an observation."""
        field = observation.grid.shape
        lattice = _lattice(field, kernels.shape[1:])
        if self._transforms is None or self._transforms[0] != lattice:
            response = spline_response(*lattice).astype(np.float32)
            self._transforms = lattice, fft.rfft2(kernels, s=lattice) / response
        return _cut(_transfer(observation, kernels.shape[1:], lattice) * self._transforms[1], field, lattice)

    def _weights(self, observation: Observation, window: tuple[int, ...]) -> NDArray[np.float32]:
        """Weights (y, x) of the pixels."""
        field = observation.grid.shape
        lattice = _lattice(field, window)
        box = fft.rfft2(np.ones(window, dtype=np.float32), s=lattice)
        count = _cut(_transfer(observation, window, lattice, unit=True) * box, field, lattice)
        share = np.where(count > 0.5, count / len(observation.scatterers.row), 0)
        weight: NDArray[np.float32] = np.where(share > 0, share**self.power, 0) * observation.seen
        return weight.astype(np.float32)


def _lattice(field: tuple[int, ...], window: tuple[int, ...]) -> tuple[int, int]:
    """Size of a periodic lattice on which a kernel does not meet itself."""
    rows, columns = (fft.next_fast_len(n + k + MARGIN, real=True) for n, k in zip(field, window, strict=True))
    return int(rows), int(columns)


def _transfer(
    observation: Observation, window: tuple[int, ...], lattice: tuple[int, int], *, unit: bool = False
) -> NDArray[np.complex64]:
    """Fourier transform of the scatterers, spread over the lattice by B-splines, at the window's first pixels."""
    scatterers, field = observation.scatterers, observation.grid.shape
    row, column = (
        place - (size - 1) / 2 for place, size in zip((scatterers.row, scatterers.column), window, strict=True)
    )
    near = (row > -window[0] - 1) & (row < field[0] + 1) & (column > -window[1] - 1) & (column < field[1] + 1)
    weight = np.ones(near.sum()) if unit else scatterers.weight[near]
    transfer: NDArray[np.complex64] = fft.rfft2(spread_of(row[near], column[near], weight, lattice))
    return transfer


def _cut(transformed: NDArray[np.complex64], field: tuple[int, ...], lattice: tuple[int, int]) -> NDArray[np.float32]:
    """Field (..., y, x) of images that are given by their Fourier transforms."""
    rows = fft.ifft(transformed, axis=-2)[..., : field[0], :]
    image: NDArray[np.float32] = fft.irfft(rows, n=lattice[1], axis=-1)[..., : field[1]]
    return image


def _on_offsets(kernel: NDArray[np.float32], grid: Grid) -> NDArray[np.float64]:
    """Kernel at all offsets between pixels of the grid, 0 beyond its window."""
    places = [np.arange(1 - n, n) + (size - 1) / 2 for n, size in zip(grid.shape, kernel.shape, strict=True)]
    full: NDArray[np.float64] = ndimage.map_coordinates(
        kernel.astype(np.float64), np.meshgrid(*places, indexing="ij"), order=3, mode="constant"
    )
    return full
