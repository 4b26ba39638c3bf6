"""Grid: the only definition of pixel coordinates."""

from __future__ import annotations

from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

MOST_PIXELS = 4096
"""Pixels along a side of a grid, at most."""

Pixels = Annotated[int, Field(ge=2, le=MOST_PIXELS)]
Nanometres = Annotated[float, Field(ge=1e-3, le=1e6, allow_inf_nan=False)]
_Number = TypeVar("_Number", bound=np.generic)


class Grid(BaseModel):
    """A rectangular window of pixels centred on the origin, both edges included.

    Pixel j of n lies at ``-L/2 + j L/(n-1)``, so that the first and the last pixel sit on the edges, as in the
    published data set. Images are indexed ``[y, x]`` with y pointing up: row 0 is the lowest y.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ny: Pixels = Field(description="rows of pixels")
    nx: Pixels = Field(description="columns of pixels")
    size_y_nm: Nanometres = Field(description="height of the field, from the first row to the last")
    size_x_nm: Nanometres = Field(description="width of the field, from the first column to the last")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, ``(ny, nx)``."""
        return self.ny, self.nx

    @property
    def pitch_y_nm(self) -> float:
        """Distance between neighbouring rows in nm."""
        return self.size_y_nm / (self.ny - 1)

    @property
    def pitch_x_nm(self) -> float:
        """Distance between neighbouring columns in nm."""
        return self.size_x_nm / (self.nx - 1)

    @property
    def y_nm(self) -> NDArray[np.float64]:
        """Coordinates of the rows in nm, shape (ny,)."""
        return _coordinates(self.ny, self.size_y_nm)

    @property
    def x_nm(self) -> NDArray[np.float64]:
        """Coordinates of the columns in nm, shape (nx,)."""
        return _coordinates(self.nx, self.size_x_nm)

    def extended(self, border: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates x and y in nm of columns and rows, with ``border`` more of the same pitch on every side."""
        return _coordinates(self.nx, self.size_x_nm, border), _coordinates(self.ny, self.size_y_nm, border)

    @property
    def offsets(self) -> Grid:
        """The lattice of offsets between any two pixels: 2n-1 wide, with a pixel exactly at the origin.

        It may exceed the largest number of pixels and the largest size of other grids.
        """
        return Grid.model_construct(
            ny=2 * self.ny - 1, nx=2 * self.nx - 1, size_y_nm=2 * self.size_y_nm, size_x_nm=2 * self.size_x_nm
        )

    def central(self, pixels: int) -> Grid:
        """Return the grid of the central ``pixels`` x ``pixels`` pixels; see :func:`central_pixels`.

        Raises
        ------
        ValueError
            If it would not be smaller than this grid, or half a pixel off it: both numbers of pixels are even, or both
            are odd.
        """
        if not 2 <= pixels < min(self.shape) or any((n - pixels) % 2 for n in self.shape):
            kinds = {n % 2 for n in self.shape}
            parity = ("even" if kinds == {0} else "odd") if len(kinds) == 1 else "never both even and odd"
            raise ValueError(
                f"the central {pixels} x {pixels} pixels of {self.nx} x {self.ny} are no patch of whole pixels; choose"
                f" a number from 2 to {min(self.shape) - 1} that is {parity}, like those of the grid"
            )
        return Grid(
            ny=pixels,
            nx=pixels,
            size_y_nm=self.size_y_nm * (pixels - 1) / (self.ny - 1),
            size_x_nm=self.size_x_nm * (pixels - 1) / (self.nx - 1),
        )


def central_pixels(images: NDArray[_Number], shape: tuple[int, int]) -> NDArray[_Number]:
    """Return the central pixels of images, (..., *shape) of (..., y, x); the images themselves if they have that shape.

    ``shape`` is that of :meth:`Grid.central`, or that of the images.
    """
    (top, left), (ny, nx) = ((have - kept) // 2 for have, kept in zip(images.shape[-2:], shape, strict=True)), shape
    return images[..., top : top + ny, left : left + nx]


def _coordinates(n: int, size_nm: float, border: int = 0) -> NDArray[np.float64]:
    # Multiplied before divided, and antisymmetric by construction: the centre of an odd grid is exactly 0. Each is
    # computed from its own index, so a border does not change the coordinates inside.
    return (2 * np.arange(-border, n + border, dtype=np.float64) - (n - 1)) * size_nm / (2 * (n - 1))
