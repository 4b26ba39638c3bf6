"""What an image shows besides the kernels of its scatterers, as columns of the linear model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from shared.harmonic_kernel import HarmonicKernel
from shared.polar import Points

Values = NDArray[np.float64]

OUTSIDE = 600
"""About the number of places outside the field at which scatterers are assumed."""

KEPT = 0.999
"""Share of the variance of the waves from outside that their columns keep."""


@dataclass(frozen=True)
class Nuisance:
    """Columns of an image's linear model and the prior variances of their amplitudes.

    Attributes
    ----------
    smooth
        (pixel, column): columns that differ from 0 everywhere.
    line
        (pixel,): number of the scan line of every pixel. The line columns, which follow the smooth ones, are 1 on one
        line each. None if there are none.
    variance
        (column,), in units of the image's mean square.
    """

    smooth: Values
    line: NDArray[np.intp] | None
    variance: Values

    @property
    def size(self) -> int:
        """Number of columns."""
        return len(self.variance)

    def after(self, first: Nuisance) -> Nuisance:
        """These columns, and before them the smooth ones of another nuisance."""
        smooth = np.concatenate([first.smooth, self.smooth], axis=1)
        return Nuisance(smooth, self.line, np.concatenate([first.variance, self.variance]))

    def first(self, count: int) -> Nuisance:
        """The first columns: some of the smooth ones, or all."""
        line = self.line if count > self.smooth.shape[1] else None
        return Nuisance(self.smooth[:, :count], line, self.variance[:count])

    def of_pixels(self, some: slice | NDArray[np.intp]) -> Nuisance:
        """The same columns on some of the pixels."""
        return Nuisance(self.smooth[some], None if self.line is None else self.line[some], self.variance)

    def products(self, values: NDArray[np.floating]) -> Values:
        """Products (column, k) of the columns with values (pixel, k)."""
        smooth: Values = (self.smooth.astype(values.dtype, copy=False).T @ values).astype(np.float64)
        if self.line is None:
            return smooth
        lines = csr_array(
            (np.ones(len(self.line), values.dtype), (self.line, np.arange(len(self.line)))),
            shape=(self.size - self.smooth.shape[1], len(self.line)),
        )
        products: Values = np.concatenate([smooth, (lines @ values).astype(np.float64)])
        return products

    def removed(self, values: Values, noise: float) -> Values:
        """Values (pixel,) without the most probable amplitudes of the columns, for white noise of a variance."""
        if not self.size:
            return values
        amplitude = np.linalg.solve(self.own_products + np.diag(noise / self.variance), self.products(values[:, None]))[
            :, 0
        ]
        smooth = self.smooth.shape[1]
        shown = self.smooth @ amplitude[:smooth]
        return values - (shown if self.line is None else shown + amplitude[smooth:][self.line])

    @property
    def own_products(self) -> Values:
        """Products (column, column) of the columns with each other."""
        if self.line is None:
            return self.products(self.smooth)
        of_smooth = self.products(self.smooth)
        count = self.size - self.smooth.shape[1]
        of_lines = np.diag(np.bincount(self.line, minlength=count).astype(np.float64))
        return np.block([[of_smooth[: -count or None], of_smooth[-count:].T], [of_smooth[-count:], of_lines]])


SETS = ("none", "offset", "offset and tilt", "offset, tilt and lines")
"""Names of the sets of an instrument's columns, from the least to the most."""


def of_instrument(pixels: Points, nuisance: str, *, offset: float = 1.0) -> Nuisance:
    """Offset, tilt, and an offset of every scan line along x, as far as a set has them.

    Parameters
    ----------
    pixels
        Places of the pixels.
    nuisance
        Name of the set.
    offset
        Standard deviation of the offset, over the root mean square of the image's variations; 1 for the others.
    """
    tilt = np.column_stack([_standard(pixels.x), _standard(pixels.y)])
    smooth = np.column_stack([np.ones(pixels.size), tilt])[:, : (0, 1, 3, 3)[SETS.index(nuisance)]]
    line = np.unique(pixels.y, return_inverse=True)[1] if nuisance == SETS[-1] else None
    variance = np.ones(smooth.shape[1] + (0 if line is None else int(line.max()) + 1))
    variance[: min(1, smooth.shape[1])] = offset**2
    return Nuisance(smooth, line, variance)


def _standard(values: Values) -> Values:
    centred = values - values.mean()
    standard: Values = centred / max(float(centred.std()), np.finfo(np.float64).tiny)
    return standard


def waves_from_outside(kernels: Sequence[HarmonicKernel], pixels: Points, density: float, reach_nm: float) -> Nuisance:
    """Waves of scatterers beyond the edges of the field, which nobody has told.

    Their sum has the mean of the density of scatterers times the integral of K(p - s) over the places s outside. It
    varies about it like a Gaussian process with the covariance of the density times the integral of K(p - s) K(p' - s).
    The leading eigenfunctions are the columns, the eigenvalues the variances; the mean is a column with its square as
    variance.

    Parameters
    ----------
    kernels
        Estimates of the kernel K, which is their mean.
    pixels
        Places of the pixels; their range is the field.
    density
        Scatterers per nm^2.
    reach_nm
        Distance from the field up to which scatterers are assumed.
    """
    left, right, low, high = (float(end) for axis in pixels[:2] for end in (axis.min(), axis.max()))
    outside = (right - left + 2 * reach_nm) * (high - low + 2 * reach_nm) - (right - left) * (high - low)
    step = float(np.sqrt(outside / OUTSIDE))
    # Cells of equal size tile the field and what is around it, so that they begin at its edges.
    x, of_x = _cells(left, right, reach_nm, step)
    y, of_y = _cells(low, high, reach_nm, step)
    places = np.array([each.ravel() for each in np.meshgrid(x, y)])
    inside = (places[0] > left) & (places[0] < right) & (places[1] > low) & (places[1] < high)
    places = places[:, ~inside]
    outer = Points(places[0], places[1], np.ones(places.shape[1]))
    images = np.mean([kernel.images(pixels, outer) for kernel in kernels], axis=0)  # (scatterer, pixel)
    expected = density * of_x * of_y  # scatterers in a cell
    values, vectors = np.linalg.eigh(expected * (images @ images.T).astype(np.float64))
    share = np.cumsum(values[::-1]) / max(float(values.sum()), np.finfo(np.float64).tiny)
    leading = slice(None, -int(np.searchsorted(share, KEPT)) - 2, -1)
    values, vectors = np.maximum(values[leading], np.finfo(np.float64).tiny), vectors[:, leading]
    waves = images.T @ (vectors * np.sqrt(expected / values))
    mean = expected * images.sum(axis=0, dtype=np.float64)
    size = float(np.sqrt(mean @ mean))
    columns = np.column_stack([mean / max(size, np.finfo(np.float64).tiny), waves])
    return Nuisance(columns, None, np.maximum(np.concatenate([[size**2], values]), np.finfo(np.float64).tiny))


def _cells(start: float, end: float, reach: float, step: float) -> tuple[Values, float]:
    """Middles of cells about as wide as a step from a reach before a range to as far behind it, and their width."""
    count = max(1, round((end - start) / step))
    width = (end - start) / count
    around = max(1, round(reach / width))
    return start + (np.arange(-around, count + around, dtype=np.float64) + 0.5) * width, width
