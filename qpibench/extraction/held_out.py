r"""A score of extracted kernels without a true kernel: what they predict of pixels that were held out.

Blocks of pixels are masked, the kernel is extracted from the others with all positions known, and its superposition is
compared with the blocks. This is done in folds, so that every block is held out once. With the noise :math:`\sigma` of
the map, the score is

.. math:: s = \frac{1}{\sigma} \sqrt{\operatorname{mean} (Y - \hat Y)^2},

which is 1 for a kernel that leaves nothing but noise. An entry that finds other scatterers than the told ones predicts
with those. The background that it states is fitted to what is left of the pixels that were seen, then a plane, and both
are taken off, because an offset or a tilt of the map is no fault of the kernel. Blocks are as large as a tenth of the
field: a wrong kernel cannot follow the noise into them.

An entry that takes no masked pixels gets a crop, the first four fifths of the rows, and predicts the other rows. Such a
score is marked, and is not to be compared with the others.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.extraction.explained import background, superposed
from qpibench.extraction.extract import extract, takes_masked_pixels
from qpibench.extraction.measured import measured
from qpibench.grid import Grid
from qpibench.physics.noise import noise_plateau

if TYPE_CHECKING:
    from qpibench.extraction.measured import Origin

Values = NDArray[np.float64]

FOLDS = 5

BLOCKS = 10
"""Blocks along the shorter side."""

CROP = 0.8

_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How well a method predicts pixels that it has not seen.

    Attributes
    ----------
    score, interval
        Root mean square of the residual on the blocks over the noise, and its 95 % interval by bootstrap over blocks.
    blocks
        (block,): mean square of the residual of every block over that of the noise.
    noise
        Standard deviation of the noise, in the unit of the map.
    is_crop
        Whether the entry takes no masked pixels and got a crop instead.
    residual
        (y, x): what the prediction leaves of the pixels that were held out; NaN elsewhere.
    """

    score: float
    interval: tuple[float, float]
    blocks: Values
    noise: float
    is_crop: bool
    residual: Values


def held_out_score(
    image: ArrayLike,
    positions_nm: ArrayLike,
    size_nm: float | Sequence[float],
    method: str | os.PathLike[str] = "polar",
    *,
    noise: float | None = None,
    origin: Origin = "centre",
    beyond_edge: bool = False,
    seed: int = 0,
    **options: Any,
) -> HeldOut:
    """Score a method on pixels of an image that it has not seen.

    Parameters
    ----------
    image, positions_nm, size_nm, method, origin, beyond_edge, **options
        As for :func:`qpibench.extraction.extract`.
    noise
        Standard deviation of the noise; by default that of :func:`qpibench.physics.noise.noise_plateau`.
    seed
        Seed of the choice of blocks and of the bootstrap.

    Raises
    ------
    UsageError
        If an argument cannot be used.
    InvalidDataError
        If the entry cannot extract a kernel, or the noise cannot be estimated.
    """
    if noise is not None and not (isinstance(noise, (int, float, np.number)) and np.isfinite(noise) and noise > 0):
        raise UsageError(f"noise must be a positive number, found {noise!r}.")
    given = measured(image, positions_nm, size_nm, kernel_shape=None, origin=origin, beyond_edge=beyond_edge)
    level = noise_plateau(given.image) if noise is None else noise
    if not level > 0:
        raise InvalidDataError("The image shows no noise to compare with; give its noise (noise; --noise).")
    rng = np.random.default_rng(seed)
    block, is_crop = _blocks(given.grid), not takes_masked_pixels(method)
    if not is_crop:
        folds = rng.permutation(int(block.max()) + 1) % FOLDS
        held = [np.isin(block, np.flatnonzero(folds == fold)) for fold in range(FOLDS)]
    else:
        held = [np.arange(given.grid.ny)[:, None] >= round(CROP * given.grid.ny) + np.zeros(given.grid.nx, int)]
    residual = np.full(given.grid.shape, np.nan)
    for hidden in held:
        left = _left(given.image, given.position_nm, given.grid, hidden, method, options, is_crop=is_crop)
        residual[hidden] = left[hidden]
    seen = np.isfinite(residual)
    counts = np.bincount(block[seen], minlength=int(block.max()) + 1)
    squares = np.bincount(block[seen], residual[seen] ** 2, minlength=len(counts)) / level**2
    counts, squares = counts[counts > 0], squares[counts > 0]
    drawn = rng.integers(len(counts), size=(_RESAMPLES, len(counts)))
    scores = np.sqrt(squares[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.quantile(scores, [0.025, 0.975])
    return HeldOut(
        score=float(np.sqrt(squares.sum() / counts.sum())),
        interval=(float(low), float(high)),
        blocks=squares / counts,
        noise=level,
        is_crop=is_crop,
        residual=residual,
    )


def _blocks(grid: Grid) -> NDArray[np.intp]:
    """Number of the block of every pixel, (y, x)."""
    side = min(grid.shape) / BLOCKS
    row, column = ((np.arange(size) / side).astype(np.intp) for size in grid.shape)
    return row[:, None] * (int(column.max()) + 1) + column


def _left(
    image: Values,
    position_nm: Values,
    grid: Grid,
    hidden: NDArray[np.bool_],
    method: str | os.PathLike[str],
    options: dict[str, Any],
    *,
    is_crop: bool,
) -> Values:
    """What a kernel from the pixels that are not hidden leaves of the image, without background and plane."""
    shown, part, centre = np.where(hidden, np.nan, image), grid, np.zeros(2)
    if is_crop:
        rows = int((~hidden).all(axis=1).sum())
        shown = image[:rows]
        part = Grid(ny=rows, nx=grid.nx, size_y_nm=grid.pitch_y_nm * (rows - 1), size_x_nm=grid.size_x_nm)
        centre = np.array([0.0, (part.size_y_nm - grid.size_y_nm) / 2])
    told = position_nm - centre
    found = extract(shown, told, (part.size_y_nm, part.size_x_nm), method, beyond_edge=True, **options)
    left: Values = image - superposed(found, part, part, told, on=grid, centre_nm=centre)
    left = left - background(np.where(hidden, np.nan, left), grid, found.diagnostics.get("nuisance"))
    seen = np.isfinite(left) & ~hidden
    columns = np.stack([np.ones(grid.shape), *np.broadcast_arrays(grid.x_nm, grid.y_nm[:, None])], axis=-1)
    plane = np.linalg.lstsq(columns[seen], left[seen], rcond=None)[0]
    return np.asarray(left - columns @ plane, dtype=np.float64)
