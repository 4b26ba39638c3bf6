"""What an extraction explains of its image: the kernel at all scatterers, and the background of the instrument.

An entry may state in its diagnostics what it found besides the kernel:

- ``positions_nm`` (scatterer, 2) and ``strengths`` (scatterer,): the scatterers, if these are not the told ones;
- ``nuisance``: one of :data:`BACKGROUNDS`, what the instrument adds to the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.extraction.extract import Extraction
from qpibench.grid import Grid
from qpibench.physics.residual import forward_images

Values = NDArray[np.float64]

BACKGROUNDS = ("offset", "offset and tilt", "offset, tilt and lines")
"""An offset; with a tilt along x and y; with an offset of every scan line along x."""


def scatterers_of(diagnostics: Mapping[str, Any], told_nm: Values) -> tuple[Values, Values]:
    """Return places (scatterer, 2) in nm and strengths (scatterer,): those that an entry found, or else the told ones.

    Parameters
    ----------
    diagnostics
        Diagnostics of the entry.
    told_nm
        (scatterer, 2): x and y of the told scatterers, whose strengths are 1.
    """
    if diagnostics.get("positions_nm") is not None and diagnostics.get("strengths") is not None:
        places, strengths = (np.asarray(diagnostics[name], np.float64) for name in ("positions_nm", "strengths"))
        if places.shape == (len(strengths), 2) and np.isfinite(places).all() and np.isfinite(strengths).all():
            return places, strengths
    return told_nm, np.ones(len(told_nm))


def explained(found: Extraction, image: Values, grid: Grid, kernel_grid: Grid, told_nm: Values) -> Values:
    """Return what an extraction explains of its image, (y, x).

    That is the kernel at all scatterers and the background that the entry states, fitted to what the kernels leave.

    Parameters
    ----------
    found
        The extraction.
    image
        (y, x): the image; NaN where a pixel is not used.
    grid, kernel_grid
        Grids of the image and of ``found.kernel``.
    told_nm
        (scatterer, 2): x and y of the told scatterers from the centre of the field.
    """
    superposition = superposed(found, grid, kernel_grid, told_nm)
    return superposition + background(image - superposition, grid, found.diagnostics.get("nuisance"))


def superposed(
    found: Extraction,
    grid: Grid,
    kernel_grid: Grid,
    told_nm: Values,
    *,
    on: Grid | None = None,
    centre_nm: Values | float = 0.0,
) -> Values:
    """Return the kernel at all scatterers, (y, x).

    Parameters
    ----------
    found, grid, kernel_grid, told_nm
        As for :func:`explained`.
    on, centre_nm
        Another field of the same pitch, on which the sum is wanted, and x and y of the centre of ``grid`` in it.
    """
    whole, window = (found.kernel, kernel_grid) if found.kernel_full is None else (found.kernel_full, grid.offsets)
    places, strengths = scatterers_of(found.diagnostics, told_nm)
    image: Values = forward_images(on or grid, window, whole, (places + centre_nm)[None], strengths[None])[0]
    return image


def background(left: Values, grid: Grid, nuisance: object) -> Values:
    """Return the background (y, x) that fits values best.

    Parameters
    ----------
    left
        (y, x): what the kernels leave of an image; NaN are left out.
    grid
        Grid of the image.
    nuisance
        One of :data:`BACKGROUNDS`; anything else is no background.
    """
    seen = np.isfinite(left)
    if nuisance not in BACKGROUNDS or not seen.any():
        return np.zeros(grid.shape)
    x, y = np.broadcast_arrays(grid.x_nm, grid.y_nm[:, None])
    if nuisance == BACKGROUNDS[-1]:
        count = np.maximum(seen.sum(axis=1, keepdims=True), 1)

        def of_line(values: Values) -> Values:
            mean: Values = np.where(seen, values, 0.0).sum(axis=1, keepdims=True) / count
            return mean

        along = np.where(seen, x - of_line(x), 0.0)
        slope = (along[seen] @ left[seen]) / max(float(along[seen] @ along[seen]), np.finfo(np.float64).tiny)
        lines: Values = slope * x + of_line(left - slope * x)
        return lines
    columns = np.stack([np.ones(grid.shape), x, y], axis=-1)[..., : 1 if nuisance == BACKGROUNDS[0] else 3]
    plane: Values = columns @ np.linalg.lstsq(columns[seen], left[seen], rcond=None)[0]
    return plane
