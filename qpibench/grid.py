"""Grid: the only definition of pixel coordinates."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Pixels = Annotated[int, Field(ge=2, le=4096)]
Nanometres = Annotated[float, Field(ge=1e-3, le=1e6, allow_inf_nan=False)]


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
        """The lattice of offsets between any two pixels: 2n-1 wide, with a pixel exactly at the origin."""
        return Grid(ny=2 * self.ny - 1, nx=2 * self.nx - 1, size_y_nm=2 * self.size_y_nm, size_x_nm=2 * self.size_x_nm)


def _coordinates(n: int, size_nm: float, border: int = 0) -> NDArray[np.float64]:
    # Multiplied before divided, and antisymmetric by construction: the centre of an odd grid is exactly 0. Each is
    # computed from its own index, so a border does not change the coordinates inside.
    return (2 * np.arange(-border, n + border, dtype=np.float64) - (n - 1)) * size_nm / (2 * (n - 1))
