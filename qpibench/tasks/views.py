"""What a model may see of an observation."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.physics.activation import MAP_MODES, activation_map, check_map_mode
from qpibench.synthesis.contract import Observations
from qpibench.tasks.batch import Batch

View = Literal["image", "raster", "positions"]
"""Each shows what the one before it shows, and more: the image; the activation map; the scatterers' coordinates.

The view ``positions`` shows an activation map only where a map mode is asked for.
"""

VIEWS: tuple[View, ...] = get_args(View)

ASK_MAP_MODE = f"say how it is rasterised by --map (in Python map_mode), {' or '.join(MAP_MODES)}"
"""What a message tells those who did not."""


def allows(view: str, needed: str) -> bool:
    """Whether a model that needs one view is satisfied by another."""
    return VIEWS.index(needed) <= VIEWS.index(view)


def check_view(view: str, map_mode: str | None) -> None:
    """Check a view and a map mode, as of :func:`view_batch`.

    Raises
    ------
    UsageError
        If one of them is unknown, the view ``raster`` has no mode, or the view ``image`` has one.
    """
    if view not in VIEWS:
        raise UsageError(f"There is no view '{view}'; choose one of {', '.join(VIEWS)}.")
    if map_mode is None and view == "raster":
        raise UsageError(f"The view 'raster' shows an activation map; {ASK_MAP_MODE}.")
    check_map_mode(map_mode, ())
    if map_mode is not None and view == "image":
        raise UsageError("The view 'image' shows no activation map; leave out --map (in Python map_mode).")


def view_batch(
    observations: Observations, grid: Grid, kernel_grid: Grid | None = None, *, view: str, map_mode: str | None = None
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
        How scatterers are rasterised, see :func:`qpibench.physics.activation.activation_map`. The view ``raster``
        needs it; in the view ``positions`` there is no map without it.

    Raises
    ------
    UsageError
        As :func:`check_view`.
    """
    check_view(view, map_mode)
    position_nm = np.asarray(observations.told, dtype=np.float64)
    return Batch(
        image=observations.image,
        activation_map=None if map_mode is None else activation_map(grid, position_nm, mode=map_mode),
        position_nm=position_nm if allows(view, "positions") else None,
        grid=grid,
        kernel_grid=kernel_grid or grid,
    )
