"""Between native units and the scale from 0 to 1 on which the published methods work.

Kernels and images are min-max scaled, each by itself, so a network's answer has lost its gain and offset. Both come
back from the image: of all kernels "answer times a gain plus an offset", the one that explains it best.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from shared.scatterers import Scatterers
from shared.splines import periodic_splines
from torch import Tensor


def min_max(image: Tensor) -> Tensor:
    """Scale every image (n, y, x) to 0..1 by its own minimum and maximum; a constant image becomes 0."""
    low, high = image.amin(dim=(1, 2), keepdim=True), image.amax(dim=(1, 2), keepdim=True)
    span = high - low
    # masked_fill, as `where` with a number copies it to a GPU, which no CUDA graph can hold.
    return (image - low) / span.masked_fill(~(span > 0), 1)


def gain_and_offset(
    kernel: NDArray[np.floating], image: NDArray[np.floating], scatterers: Scatterers
) -> tuple[float, float]:
    """Find the gain g and the offset o with which the kernel ``g kernel + o`` explains an image.

    Weighted least squares of the image over three columns: the superposed kernel (g); how many scatterers show a pixel
    within their kernel's window (o); and how many show it beyond the window, where the kernel's tails, not known, are
    taken as a constant. A pixel weighs 1 / (1 + number of tails).

    Parameters
    ----------
    kernel, image
        (y, x), on the same grid.
    scatterers
        Where the kernel is to be put.

    Returns
    -------
    tuple of float
        Gain and offset; those of smallest norm where the image does not determine them.
    """
    shown, inside = superpose(kernel, scatterers)
    outside = np.maximum(scatterers.weight.sum() - inside, 0)
    root = 1 / np.sqrt(1 + outside)
    columns = np.stack([(root * column).ravel() for column in (shown, inside, outside)], axis=1)
    solution = np.linalg.lstsq(columns, (root * image).ravel(), rcond=1e-6)[0]
    return float(solution[0]), float(solution[1])


def superpose(kernel: NDArray[np.floating], scatterers: Scatterers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Put a kernel at every scatterer, and count how many of them show each pixel within the kernel's window.

    The kernel is interpolated by cubic B-splines. Where a scatterer is known up to a cell, its image is averaged over
    the cell: a sharper one would be too small a column of the least squares, and the gain too large or too small.

    Parameters
    ----------
    kernel
        (y, x); its centre is the scatterer.
    scatterers
        Where they are.

    Returns
    -------
    superposition, count
        (y, x) float64 each.
    """
    ny, nx = kernel.shape
    row, column = scatterers.row - (ny - 1) / 2, scatterers.column - (nx - 1) / 2
    # A scatterer farther out shows the field none of its window.
    near = (np.abs(row) < ny + 1) & (np.abs(column) < nx + 1)
    size = (fft.next_fast_len(2 * ny + 4, real=True), fft.next_fast_len(2 * nx + 4, real=True))
    across = scatterers.weight[near, None] * periodic_splines(column[near], size[1])
    spread = periodic_splines(row[near], size[0]).T @ across
    blur = np.sinc(scatterers.cell[0] * fft.fftfreq(size[0]))[:, None] * np.sinc(
        scatterers.cell[1] * fft.rfftfreq(size[1])
    )
    transformed = blur * fft.rfft2(spread)

    def put(coefficient: NDArray[np.float64]) -> NDArray[np.float64]:
        shown: NDArray[np.float64] = fft.irfft2(transformed * fft.rfft2(coefficient, s=size), s=size)[:ny, :nx]
        return shown

    return put(ndimage.spline_filter(kernel, order=3, mode="mirror")), put(np.ones(kernel.shape))
