"""Colours of a gallery's images: scales that show the ripples, whatever the cores of the scatterers are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.gallery.palette import POSITIVE, SIGNED
from qpibench.gallery.panels import Picture
from qpibench.grid import Grid
from qpibench.pages.scales import Limits, symmetric_limits, value_limits

SHOWN = 0.98
"""Share of signed values between the ends of their scale."""


class Scale:
    """How the images of one family are coloured.

    Signed values have a diverging scale that is symmetric about 0, positive ones a sequential scale. The limits are
    those of the pixels outside the cores of scatterers, which would otherwise leave no colours for the ripples; of
    signed values 2 % lie beyond them.

    Parameters
    ----------
    grid
        Grid of the images.
    core_nm
        Radius of the cores in nm.
    kernels
        (kernel, y, x) images of kernels, which decide whether values are signed.
    """

    def __init__(self, grid: Grid, core_nm: float, kernels: NDArray[np.float32]) -> None:
        self.grid, self.core_nm = grid, core_nm
        self.is_signed = bool(kernels.min() < 0)

    @property
    def colours(self) -> str:
        """Name of the colour map."""
        return SIGNED if self.is_signed else POSITIVE

    def picture(self, image: NDArray[Any], scatterers_nm: NDArray[np.float64]) -> Picture:
        """An image with scatterers at these positions, (scatterer, xy), which are not marked."""
        return Picture(image=image, colours=self.colours, limits=self.limits(image[np.newaxis], scatterers_nm))

    def limits(self, images: NDArray[Any], scatterers_nm: NDArray[np.float64]) -> Limits:
        """Values at the ends of the scale of images (image, y, x) with scatterers at the same positions."""
        outside = self.outside(scatterers_nm)
        values = images[:, outside] if outside.any() else images
        return _most(values) if self.is_signed else value_limits(values)

    def outside(self, scatterers_nm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """The pixels (y, x) outside the cores of scatterers."""
        outside = np.ones(self.grid.shape, bool)
        for x, y in scatterers_nm if self.core_nm else ():
            dx, dy = self.grid.x_nm - x, self.grid.y_nm - y
            outside &= dx**2 + dy[:, np.newaxis] ** 2 > self.core_nm**2
        return outside


def difference_picture(before: NDArray[Any], after: NDArray[Any]) -> Picture:
    """The change of an image, on a symmetric scale of its own."""
    change = after.astype(np.float64) - before
    return Picture(image=change, colours=SIGNED, limits=_most(change))


def _most(values: NDArray[Any]) -> Limits:
    """Limits symmetric about zero that contain most values, or all if most are zero."""
    return symmetric_limits(np.quantile(np.abs(values), SHOWN) or values)


def finer(of_image: Limits, of_difference: Limits) -> str:
    """How the scale of a difference compares with that of the image.

    Examples
    --------
    >>> finer((-1.0, 1.0), (-0.1, 0.1)), finer((0.0, 1.0), (-1.5, 1.5))
    ('scale 10 times finer', 'scale 1.5 times coarser')
    """
    ratio = max(map(abs, of_image)) / max(map(abs, of_difference))
    return f"scale {ratio:.2g} times finer" if ratio >= 1 else f"scale {1 / ratio:.2g} times coarser"
