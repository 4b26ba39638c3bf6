"""Conversion between native units and the scale 0..1 of the published methods.

Kernels and images are min-max scaled individually, so a network's kernel has no gain and no offset. Both are estimated
from the image: they are those with which the scaled and shifted kernel fits the image best.
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
    # masked_fill instead of `where`, which copies its number to the GPU; a CUDA graph cannot capture that copy.
    return (image - low) / span.masked_fill(~(span > 0), 1)


def gain_and_offset(
    kernel: NDArray[np.floating], image: NDArray[np.floating], scatterers: Scatterers
) -> tuple[float, float]:
    """Find the gain g and the offset o with which the kernel ``g kernel + o`` fits an image best.

    This is a weighted least-squares fit of the image by three columns. The first is the superposed kernel; its
    coefficient is g. The second counts, for every pixel, the scatterers whose kernel's window contains it; its
    coefficient is o. The third counts the scatterers whose window does not contain the pixel: the kernel's tails there
    are unknown and are approximated by a constant. The weight of a pixel is 1 / (1 + its third count).

    Parameters
    ----------
    kernel, image
        (y, x), on the same grid.
    scatterers
        Positions of the kernel.

    Returns
    -------
    tuple of float
        Gain and offset; if the image does not determine them, the solution of smallest norm.
    """
    shown, inside = superpose(kernel, scatterers)
    outside = np.maximum(scatterers.weight.sum() - inside, 0)
    root = 1 / np.sqrt(1 + outside)
    columns = np.stack([(root * column).ravel() for column in (shown, inside, outside)], axis=1)
    solution = np.linalg.lstsq(columns, (root * image).ravel(), rcond=1e-6)[0]
    return float(solution[0]), float(solution[1])


def superpose(kernel: NDArray[np.floating], scatterers: Scatterers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Superpose a kernel at all scatterers, and count for every pixel the scatterers whose window contains it.

    The kernel is interpolated by cubic B-splines. If a scatterer is known only up to a cell of the activation map, its
    kernel is averaged over the cell; a sharper kernel would bias the gain of :func:`gain_and_offset`.

    Parameters
    ----------
    kernel
        (y, x); the scatterer is at its centre.
    scatterers
        Their positions.

    Returns
    -------
    superposition, count
        (y, x) float64 each.
    """
    ny, nx = kernel.shape
    row, column = scatterers.row - (ny - 1) / 2, scatterers.column - (nx - 1) / 2
    # The windows of scatterers farther out do not reach the field.
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
