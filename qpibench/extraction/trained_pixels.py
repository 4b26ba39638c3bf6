r"""Brings an image to the pixels that an entry was trained on, and its kernel back.

Pixel j of n sits at j L / (n-1) from the first edge, both edges included, so an image is a sum of n cosines,

.. math:: f(x) = \sum_{k=0}^{n-1} c_k \cos(\pi k x / L),

which the discrete cosine transform of the first kind finds. Fewer pixels take the cosines that they can show and leave
the others out, more pixels take all of them. Waves that both grids can show keep their amplitude, shorter ones are not
aliased. A superposition of kernels becomes the superposition of the kernels so treated, up to the edges of the field.
Positions in nm, and the amplitude of a kernel, are those of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import UsageError
from qpibench.extraction.measured import Measured
from qpibench.grid import Grid

Values = NDArray[np.float64]

_STRETCH = 1.02
"""Ratio of the pitches along y and x from which a pattern is called stretched."""


def on_pixels(given: Measured, pixels: Sequence[int], name: str) -> Measured:
    """Return the same field with other numbers of pixels, and as its kernel grid the field.

    Parameters
    ----------
    given
        The image, without masked pixels.
    pixels
        Rows and columns.
    name
        Name of the entry that takes them.

    Raises
    ------
    UsageError
        If the kernel is wanted beyond the field, of which such an entry says nothing.
    """
    grid, wanted = given.grid, given.kernel_grid
    if wanted.ny > grid.ny or wanted.nx > grid.nx:
        raise UsageError(
            f"Entry '{name}' gives kernels as large as the field, {grid.ny} x {grid.nx} pixels, and {wanted.ny} x"
            f" {wanted.nx} are asked for."
        )
    ny, nx = pixels
    field = Grid(ny=ny, nx=nx, size_y_nm=grid.size_y_nm, size_x_nm=grid.size_x_nm)
    return replace(given, image=resampled(given.image, grid, field), grid=field, kernel_grid=field)


def resampled(values: Values, old: Grid, new: Grid) -> Values:
    """Return values (y, x) of a grid at the points of another, whose centre is the same and which lies within it."""
    along_y = _between(old.ny, new.ny, new.size_y_nm / old.size_y_nm)
    along_x = _between(old.nx, new.nx, new.size_x_nm / old.size_x_nm)
    return np.asarray(along_y @ values @ along_x.T, dtype=np.float64)


def notice(old: Grid, new: Grid, name: str) -> str:
    """Return the sentence that says how an image was resampled, and whether its pattern is stretched by that."""
    sentence = (
        f"The image was resampled from {old.ny} x {old.nx} to the {new.ny} x {new.nx} pixels that {name} was trained on"
    )
    ratio = new.pitch_y_nm / new.pitch_x_nm  # networks are trained on square pixels
    if max(ratio, 1 / ratio) < _STRETCH:
        return f"{sentence}."
    axis, factor = ("x", ratio) if ratio > 1 else ("y", 1 / ratio)
    return (
        f"{sentence}, which stretches its pattern by {factor:.3g} along {axis}; a map whose height and width are as"
        f" {new.ny} to {new.nx} is not stretched."
    )


def _between(old: int, new: int, share: float) -> Values:
    """Matrix (new, old) from values at ``old`` points to values at ``new`` points on a share of their length."""
    place = (np.arange(old) / (old - 1)) * np.pi
    count = min(old, round((new - 1) / share) + 1)
    ends = np.where(np.isin(np.arange(old), (0, old - 1)), 0.5, 1.0)
    waves = np.cos(np.outer(np.arange(count), place)) * ends
    scale = np.where(np.isin(np.arange(count), (0, old - 1)), 1.0, 2.0) / (old - 1)
    where = np.pi * (0.5 + share * (np.arange(new) / (new - 1) - 0.5))
    matrix: Values = (np.cos(np.outer(where, np.arange(count))) * scale) @ waves
    return matrix
