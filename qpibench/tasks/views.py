"""Views: the parts of an observation that a model gets."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.physics.activation import MAP_MODES, activation_map, check_map_mode
from qpibench.synthesis.contract import Observations
from qpibench.tasks.batch import Batch

View = Literal["image", "raster", "positions"]
"""``image`` shows the image; ``raster`` adds the activation map; ``positions`` adds the coordinates of the scatterers.

The view ``positions`` shows an activation map only if a map mode is set.
"""

VIEWS: tuple[View, ...] = get_args(View)

ASK_MAP_MODE = f"say how it is rasterised by --map (in Python map_mode), {' or '.join(MAP_MODES)}"
"""End of a message about a missing map mode."""


def allows(view: str, needed: str) -> bool:
    """Whether a view shows everything that a model with the needed view requires."""
    return VIEWS.index(needed) <= VIEWS.index(view)


def check_view(view: str, map_mode: str | None) -> None:
    """Check a view and a map mode; see :func:`view_batch`.

    Raises
    ------
    UsageError
        If one of them is unknown, the view is ``raster`` without a mode, or the view is ``image`` with one.
    """
    if view not in VIEWS:
        raise UsageError(f"There is no view '{view}'; choose one of {', '.join(VIEWS)}.")
    if map_mode is None and view == "raster":
        raise UsageError(f"The view 'raster' shows an activation map; {ASK_MAP_MODE}.")
    check_map_mode(map_mode, ())
    if map_mode is not None and view == "image":
        raise UsageError("The view 'image' shows no activation map; leave out --map (in Python map_mode).")


def view_batch(
    observations: Observations,
    grid: Grid,
    kernel_grid: Grid | None = None,
    *,
    view: str,
    map_mode: str | None = None,
    told_species: bool = True,
) -> Batch:
    """Make the inputs of a model from observations: only what the view shows, and never the kernel.

    Parameters
    ----------
    observations
        Rows of a release.
    grid
        Grid of the observations.
    kernel_grid
        Grid on which the kernel must be predicted; the grid of the observations if None.
    view
        One of :data:`VIEWS`.
    map_mode
        How scatterers are rasterised; see :func:`qpibench.physics.activation.activation_map`. The view ``raster`` needs
        it; in the view ``positions`` the map is left out if it is None.
    told_species
        Whether the view ``positions`` shows the species of the scatterers, if there are two.

    Raises
    ------
    UsageError
        As :func:`check_view`.
    """
    check_view(view, map_mode)
    position_nm = np.asarray(observations.told, dtype=np.float64)
    shows_positions = allows(view, "positions")
    return Batch(
        image=observations.image,
        activation_map=None if map_mode is None else activation_map(grid, position_nm, mode=map_mode),
        position_nm=position_nm if shows_positions else None,
        grid=grid,
        kernel_grid=kernel_grid or grid,
        species=observations.told_species if shows_positions and told_species else None,
        species_count=observations.species_count,
    )
