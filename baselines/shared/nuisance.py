"""What an image shows besides the kernels of its scatterers, as columns of the linear model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.harmonic_kernel import HarmonicKernel
from shared.polar import Points

Values = NDArray[np.float64]

OUTSIDE = 600
"""Places outside the field at which scatterers are assumed, at most."""

KEPT = 0.999
"""Share of the variance of the waves from outside that their columns keep."""


@dataclass(frozen=True)
class Nuisance:
    """Columns of an image's linear model and the prior variances of their amplitudes.

    Attributes
    ----------
    columns
        (pixel, column).
    variance
        (column,), in units of the image's mean square.
    sets
        Names of sets of columns, each with the numbers of its columns, from the least to the most.
    """

    columns: Values
    variance: Values
    sets: dict[str, NDArray[np.intp]]


def of_instrument(pixels: Points) -> Nuisance:
    """Offset, tilt, and an offset of every scan line, along x."""
    _, line = np.unique(pixels.y, return_inverse=True)
    lines = np.zeros((pixels.size, int(line.max()) + 1))
    lines[np.arange(pixels.size), line] = 1.0
    tilt = np.column_stack([_standard(pixels.x), _standard(pixels.y)])
    columns = np.column_stack([np.ones(pixels.size), tilt, lines])
    count = columns.shape[1]
    sets = {"none": 0, "offset": 1, "offset and tilt": 3, "offset, tilt and lines": count}
    return Nuisance(columns, np.ones(count), {name: np.arange(n) for name, n in sets.items()})


def _standard(values: Values) -> Values:
    centred = values - values.mean()
    standard: Values = centred / max(float(centred.std()), np.finfo(np.float64).tiny)
    return standard


def waves_from_outside(kernel: HarmonicKernel, pixels: Points, density: float, reach_nm: float) -> Nuisance:
    """Waves of scatterers beyond the edges of the field, which nobody has told.

    Their sum is a Gaussian process whose covariance is the density of scatterers times the integral of
    K(p - s) K(p' - s) over the places s outside. Its leading eigenfunctions are the columns, its eigenvalues the
    variances.

    Parameters
    ----------
    kernel
        The kernel, as far as it is known.
    pixels
        Places of the pixels; their range is the field.
    density
        Scatterers per nm^2.
    reach_nm
        Distance from the field up to which scatterers are assumed.
    """
    left, right, low, high = pixels.x.min(), pixels.x.max(), pixels.y.min(), pixels.y.max()
    area = (right - left + 2 * reach_nm) * (high - low + 2 * reach_nm)
    step = np.sqrt(max(area - (right - left) * (high - low), 1e-9) / OUTSIDE)
    x, y = (np.arange(a - reach_nm + step / 2, b + reach_nm, step) for a, b in ((left, right), (low, high)))
    places = np.array([each.ravel() for each in np.meshgrid(x, y)])
    inside = (places[0] >= left) & (places[0] <= right) & (places[1] >= low) & (places[1] <= high)
    places = places[:, ~inside]
    images = kernel.pairs(pixels, Points(places[0], places[1], np.ones(places.shape[1]))).single
    products = (images.T @ images).astype(np.float64) * density * step**2
    values, vectors = np.linalg.eigh(products)
    total = np.cumsum(values[::-1]) / max(values.sum(), np.finfo(np.float64).tiny)
    count = int(np.searchsorted(total, KEPT)) + 1
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    # Columns of unit mean square, so that a variance is that of the waves in a pixel.
    columns = images @ (vectors * np.sqrt(density * step**2 / np.maximum(values, 1e-300)))
    size = np.sqrt(len(pixels.x))
    return Nuisance(columns.astype(np.float64) * size, values / size**2, {"outside": np.arange(count)})
