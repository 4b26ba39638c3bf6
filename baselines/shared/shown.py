"""An image as the search for its kernel sees it: pixels, scatterers, and what else it shows (:class:`Shown`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from shared.harmonic_kernel import HarmonicKernel
from shared.nuisance import SETS, Nuisance, of_instrument
from shared.polar import Points
from shared.polar_basis import PolarBasis
from shared.polar_sums import Sums, sums
from shared.ripples import Ripples

Values = NDArray[np.float64]

FEW = 2048
"""Number of pixels that are enough for a first look."""


@dataclass(frozen=True)
class Shown:
    """An image with its scatterers and what else it shows.

    Attributes
    ----------
    image, pixels
        Values (pixel,) of unit variance, and places.
    scatterers
        The scatterers.
    grid
        Grid of the image.
    nuisance
        Sets of columns of what else the image may show, by name, from the least to the most: each begins with the last.
    ripples
        How fine the ripples of the whole image are.
    """

    image: Values
    pixels: Points
    scatterers: Points
    grid: Grid
    nuisance: Mapping[str, Nuisance]
    ripples: Ripples

    @staticmethod
    def of(image: Values, pixels: Points, scatterers: Points, grid: Grid) -> Shown:
        """An image that may show the instrument."""
        offset = max(1.0, abs(float(image.mean())))
        instrument = {name: of_instrument(pixels, name, offset=offset) for name in SETS}
        ripples = Ripples.of(on_grid(image, pixels, grid), grid.size_y_nm, grid.size_x_nm)
        return Shown(image, pixels, scatterers, grid, instrument, ripples)

    @property
    def pitch_nm(self) -> float:
        """Distance of neighbouring pixels, the larger one."""
        return max(self.grid.pitch_x_nm, self.grid.pitch_y_nm)

    @property
    def side_nm(self) -> float:
        """Side of the field, the shorter one."""
        return min(self.grid.size_x_nm, self.grid.size_y_nm)

    @property
    def reach_nm(self) -> float:
        """Diagonal of the field, which no pixel is farther from a scatterer than."""
        return math.hypot(self.grid.size_x_nm, self.grid.size_y_nm)

    @property
    def period_nm(self) -> float:
        """Period of the finest ripples; that of two pixels at least."""
        return max(self.side_nm / max(self.ripples.finest, 1), 2 * self.pitch_nm)

    def spacing_nm(self, reach_nm: float, splines: int, a_period: float) -> float:
        """Distance of radial splines: so many up to a reach, and in a period, at least; not closer than pixels."""
        return max(self.pitch_nm, min(reach_nm / splines, self.period_nm / a_period))

    @property
    def picture(self) -> Values:
        """The image (y, x), NaN where a pixel is not used."""
        return on_grid(self.image, self.pixels, self.grid)

    @property
    def density(self) -> float:
        """Scatterers per nm^2, each counted with its strength."""
        return float(self.scatterers.strength.sum()) / (self.grid.size_x_nm * self.grid.size_y_nm)

    def thinned(self, most: int = FEW) -> Shown:
        """The same with at most so many pixels.

        They are drawn with a fixed seed: a regular choice can miss columns of the image.
        """
        if len(self.image) <= most:
            return self
        some = np.sort(np.random.default_rng(0).choice(len(self.image), most, replace=False))
        pixels = Points(*(part[some] for part in self.pixels))
        nuisance = {name: each.of_pixels(some) for name, each in self.nuisance.items()}
        return replace(self, image=self.image[some], pixels=pixels, nuisance=nuisance)

    def with_waves(self, waves: Nuisance) -> Shown:
        """The same image, which shows the waves of scatterers outside the field, too."""
        widest = self.nuisance[SETS[-1]].after(waves)
        return replace(
            self, nuisance={name: widest.first(waves.size + each.size) for name, each in self.nuisance.items()}
        )

    def columns(self, basis: PolarBasis) -> Iterator[tuple[slice, NDArray[np.floating]]]:
        """Columns of the kernel's linear model; see :meth:`shared.polar_basis.PolarBasis.columns`."""
        return basis.columns(self.pixels, self.scatterers)

    def sums(
        self,
        basis: PolarBasis,
        nuisance: str,
        *,
        functions: Sequence[Values] | None = None,
        dtype: type[np.floating] = np.float32,
    ) -> Sums:
        """Sums with the columns of one set of nuisance; see :func:`shared.polar_basis.sums`."""
        others = self.nuisance[nuisance]
        return sums(self.image, self.pixels, self.scatterers, basis, others, functions=functions, dtype=dtype)

    def left(self, kernel: HarmonicKernel, nuisance: str, noise: float) -> Values:
        """What a kernel and one set of nuisance leave of the image, (pixel,), for white noise of a variance."""
        left = self.image - kernel.superposed(self.pixels, self.scatterers)
        return self.nuisance[nuisance].removed(left, noise)


def on_grid(image: Values, pixels: Points, grid: Grid) -> Values:
    """Values (pixel,) at their places on a grid (y, x), NaN elsewhere."""
    whole = np.full(grid.shape, np.nan)
    row = np.rint((pixels.y - grid.y_nm[0]) / grid.pitch_y_nm).astype(int)
    column = np.rint((pixels.x - grid.x_nm[0]) / grid.pitch_x_nm).astype(int)
    whole[row, column] = image
    return whole
