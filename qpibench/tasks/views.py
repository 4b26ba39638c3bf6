"""What a model may see of an observation."""

from __future__ import annotations

import numpy as np

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.physics.activation import activation_map
from qpibench.synthesis.contract import Observations
from qpibench.tasks.batch import Batch

VIEWS = ("image", "raster", "positions")
"""Each shows what the one before it shows, and more: the image; the activation map; the scatterers' coordinates."""


def allows(view: str, needed: str) -> bool:
    """Whether a model that needs one view is satisfied by another."""
    return VIEWS.index(needed) <= VIEWS.index(view)


def view_batch(
    observations: Observations, grid: Grid, kernel_grid: Grid | None = None, *, view: str, map_mode: str = "paper"
) -> Batch:
    """Show observations to a model: their inputs, as far as the view allows, and nothing of the answer.

    Parameters
    ----------
    observations
        Rows of a release.
    grid
        Grid of the observations.
    kernel_grid
        Grid on which the kernel is wanted; that of the observations if not given.
    view
        One of :data:`VIEWS`.
    map_mode
        How scatterers are rasterised, see :func:`qpibench.physics.activation.activation_map`.

    Raises
    ------
    UsageError
        If the view or the map mode is unknown.
    """
    if view not in VIEWS:
        raise UsageError(f"There is no view {view!r}; choose one of {', '.join(VIEWS)}.")
    position_nm = np.asarray(observations.position_nm, dtype=np.float64)
    return Batch(
        image=observations.image,
        activation_map=activation_map(grid, position_nm, mode=map_mode) if allows(view, "raster") else None,
        position_nm=position_nm if allows(view, "positions") else None,
        grid=grid,
        kernel_grid=kernel_grid or grid,
    )
