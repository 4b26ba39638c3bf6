"""Patches: kernels that are predicted on the central pixels of the grid only."""

from __future__ import annotations

from qpibench.errors import UsageError
from qpibench.grid import Grid


def kernel_grid(grid: Grid, kernel_px: int | None) -> Grid:
    """Return the grid on which kernels are predicted.

    Parameters
    ----------
    grid
        Grid of the observations and of the release's kernels.
    kernel_px
        Side of the patch in pixels, see :meth:`qpibench.grid.Grid.central`; the grid itself if None.

    Raises
    ------
    UsageError
        If the grid has no such patch.
    """
    try:
        return grid if kernel_px is None else grid.central(kernel_px)
    except ValueError as error:
        raise UsageError(f"kernel_px = {kernel_px} does not fit: {error}.") from None
