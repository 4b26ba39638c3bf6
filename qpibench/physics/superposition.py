"""Images from a family's float64 reference: one scatterer at the origin, and the linear superposition of many."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.families import Family
from qpibench.grid import Grid
from qpibench.physics.shapes import check_shape


def kernel_image(grid: Grid, family: Family, **parameters: Any) -> NDArray[np.float64]:
    """Evaluate a kernel on a grid, the scatterer at its centre.

    Parameters
    ----------
    grid
        Grid of the image.
    family, **parameters
        A family and the values of its columns for one kernel; see its `reference`.

    Returns
    -------
    ndarray
        (ny, nx) float64, indexed [y, x].
    """
    return family.reference(grid.x_nm, grid.y_nm[:, None], **parameters)


def superpose(
    grid: Grid,
    family: Family,
    position_nm: NDArray[np.float64],
    amplitude: NDArray[np.floating] | None = None,
    **parameters: Any,
) -> NDArray[np.float64]:
    """Superpose scatterers that have the same kernel: Y(r) = sum_s a_s A(r - r_s).

    Parameters
    ----------
    grid
        Grid of the observation.
    family, **parameters
        See :func:`kernel_image`.
    position_nm
        (scatterer, 2) float64: x and y of every scatterer in nm, inside the field or not. Rows of NaN are padding.
    amplitude
        (scatterer,) factor of the image of each scatterer; 1 if not given.

    Returns
    -------
    ndarray
        (ny, nx) float64, indexed [y, x].

    Raises
    ------
    UsageError
        If `position_nm` or `amplitude` has another shape.
    """
    check_shape("position_nm", position_nm, "scatterer", 2)
    if amplitude is not None:
        check_shape("amplitude", amplitude, len(position_nm))
    observation = np.zeros(grid.shape)
    amplitude = np.ones(len(position_nm)) if amplitude is None else amplitude
    for (x, y), factor in zip(position_nm, amplitude, strict=True):
        if not np.isnan(x + y):
            observation += factor * family.reference(grid.x_nm - x, grid.y_nm[:, None] - y, **parameters)
    return observation
