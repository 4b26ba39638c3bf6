"""The pixels that an entry takes, if it declares ``takes_pixels``."""

from __future__ import annotations

from collections.abc import Sequence

from qpibench.evaluation.entries import Entry
from qpibench.grid import Grid


def refusal(entry: Entry, pixels: Sequence[int] | None, grid: Grid, kernel_grid: Grid) -> str | None:
    """Return the sentence that says why an entry cannot take images and kernels of these grids, None if it can.

    Parameters
    ----------
    entry
        The entry.
    pixels
        Rows and columns that it takes, None for any.
    grid, kernel_grid
        Grids of the images and of the kernels.
    """
    for name, shape in (("images", grid.shape), ("kernels", kernel_grid.shape)):
        if pixels is not None and shape != tuple(pixels):
            return (
                f"Entry '{entry.name}' takes images and kernels of {pixels[0]} x {pixels[1]} pixels only, and the"
                f" {name} have {shape[0]} x {shape[1]}."
            )
    return None
