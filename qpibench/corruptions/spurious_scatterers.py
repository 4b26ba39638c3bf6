r"""Spurious scatterers: a model is told of scatterers that do not exist.

To the told positions of an image with $n$ drawn scatterers come

$$\max(\lfloor s n + \tfrac12 \rfloor, m), \qquad m = 1 \text{ where } n \ge 10, \text{ otherwise } 0,$$

with the share $s$, which is ``share``: positions that are uniform in the field; on a lattice each moves to the nearest
site that is not told, in rare cases that of a missing scatterer. Then the told positions are put into a random order,
so that a spurious one cannot be recognised by its place. The image does not change.

Stream ``spurious scatterers position``: draw p has x and y of position 2p, and x and y of position 2p + 1. Stream
``spurious scatterers order``: draw q has the four words of the places 4q to 4q + 3, first those of the positions that
were told before, then the spurious ones; the told positions are sorted by these words, and of equal words by place.

Source: this model of what is mistaken for a scatterer is our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.philox import random_order, unit, words
from qpibench.columns import Column
from qpibench.corruptions import Draft
from qpibench.corruptions.missing_scatterers import compiled_number_of, number_of
from qpibench.families import NO_HOLE, get_family, is_on_lattice
from qpibench.grid import Grid

if TYPE_CHECKING:
    from qpibench.specs.spec import ReleaseSpec

STAGE = "told"
ORDER = 20
EXAMPLE = {"share": 0.2}


class Settings(BaseModel):
    """Settings of spurious scatterers.

    ``share`` is the number of spurious positions over the number of scatterers, rounded to whole positions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        description="spurious told positions over the number of scatterers"
    )


COLUMNS = (
    Column(
        name="n_spurious",
        dtype="<i4",
        per="observation",
        units="1",
        long_name="number of told positions without a scatterer",
        absent=0,
    ),
)


def extra_scatterers(settings: Settings, spec: ReleaseSpec) -> int:
    """The largest number of spurious positions; see :class:`qpibench.corruptions.AddsScatterers`."""
    return number_of(settings.share, spec.scatterers.max)


def check(settings: Settings, spec: ReleaseSpec) -> None:
    """Refuse more positions than a lattice has sites; see :class:`qpibench.corruptions.Restricted`."""
    family = get_family(spec.kernels.family)
    if is_on_lattice(family):
        needed = spec.scatterers.max + extra_scatterers(settings, spec)
        sites = family.site_count(spec.kernels, *_halves(spec.grid, spec.scatterers.margin_nm), enough=needed)
        if needed > sites:
            raise ValueError(
                f"corruptions.spurious_scatterers.share = {settings.share:g} needs up to {needed} lattice sites in the"
                f" field, which has {sites}; lower it or scatterers.max"
            )


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Add spurious positions to those told of a draft; see :class:`qpibench.corruptions.Corruption`."""
    n_spurious = np.empty(len(draft), np.int32)
    position_key, order_key = draft.key("spurious scatterers position"), draft.key("spurious scatterers order")
    images, told = (draft.start, draft.per_kernel), (draft.told_position_nm, draft.told_index)
    _invent(position_key, *images, settings.share, *_halves(draft.grid, 0.0), draft.n_drawn, *told, n_spurious)
    if draft.to_sites is not None:
        half, first = _halves(draft.grid, draft.margin_nm), np.zeros(len(draft), np.int32)
        draft.to_sites(draft.told_position_nm, first=first, hole_nm=NO_HOLE, half_nm=half)
    _shuffle(order_key, *images, *told)
    return {"n_spurious": n_spurious}


def _halves(grid: Grid, margin_nm: float) -> tuple[float, float]:
    """Half sides of the field, widened by a positive margin."""
    return grid.size_x_nm / 2 + max(margin_nm, 0.0), grid.size_y_nm / 2 + max(margin_nm, 0.0)


@compiled(nogil=True, error_model="numpy")
def _invent(key, start, per_kernel, share, half_x, half_y, n_drawn, told, index, n_spurious):  # type: ignore[no-untyped-def]
    """Add positions to ``told`` (observation, scatterer, xy), and their indices to ``index``."""
    for row in range(len(told)):
        kernel, image = divmod(start + row, per_kernel)
        number = compiled_number_of(share, n_drawn[row])
        n_spurious[row] = number
        n = _count(index[row])
        for k in range(number):
            x0, y0, x1, y1 = words(key, k // 2, image, kernel)
            told[row, n + k, 0] = (2.0 * unit(x0 if k % 2 == 0 else x1) - 1.0) * half_x
            told[row, n + k, 1] = (2.0 * unit(y0 if k % 2 == 0 else y1) - 1.0) * half_y
            index[row, n + k] = n_drawn[row] + k


@compiled(nogil=True, error_model="numpy")
def _shuffle(key, start, per_kernel, told, index):  # type: ignore[no-untyped-def]
    """Put the told positions of each observation, and their indices, into a random order."""
    for row in range(len(told)):
        kernel, image = divmod(start + row, per_kernel)
        n = _count(index[row])
        order = random_order(key, image, kernel, n)
        position, number = told[row, :n].copy(), index[row, :n].copy()
        for k in range(n):
            told[row, k, 0], told[row, k, 1] = position[order[k], 0], position[order[k], 1]
            index[row, k] = number[order[k]]


@nb.njit(inline="always")
def _count(index):  # type: ignore[no-untyped-def]
    n = 0
    while n < len(index) and index[n] >= 0:
        n += 1
    return n
