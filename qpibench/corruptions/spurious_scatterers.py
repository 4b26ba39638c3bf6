"""Spurious scatterers: a model is told of scatterers that do not exist.

To the told positions of an image with n drawn scatterers come

    floor(share * n + 1/2), at least 1 where n >= 10,

positions that are uniform in the field, and the told positions are put into a random order, so that a spurious one
cannot be recognised by its place. The image does not change.

Stream ``spurious scatterers position``: draw p has x and y of position 2p, and x and y of position 2p + 1. Stream
``spurious scatterers order``: draw q has the four words of the places 4q to 4q + 3, first those of the positions that
were told before, then the spurious ones; the told positions are sorted by these words, and of equal words by place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.philox import random_order, unit, words
from qpibench.columns import Column
from qpibench.corruptions import Draft
from qpibench.corruptions.missing_scatterers import compiled_number_of, number_of

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


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Add spurious positions to those told of a draft; see :class:`qpibench.corruptions.Corruption`."""
    n_spurious = np.empty(len(draft), np.int32)
    keys = draft.key("spurious scatterers position"), draft.key("spurious scatterers order")
    halves = draft.grid.size_x_nm / 2, draft.grid.size_y_nm / 2
    told = draft.told_position_nm, draft.told_index
    _invent(*keys, draft.start, draft.per_kernel, settings.share, *halves, draft.n_drawn, *told, n_spurious)
    return {"n_spurious": n_spurious}


@compiled(nogil=True, error_model="numpy")
def _invent(  # type: ignore[no-untyped-def]
    position_key, order_key, start, per_kernel, share, half_x, half_y, n_drawn, told, index, n_spurious
):
    """Add positions to ``told`` (observation, scatterer, xy), and shuffle the told positions of each observation."""
    for row in range(len(told)):
        kernel, image = divmod(start + row, per_kernel)
        number = compiled_number_of(share, n_drawn[row])
        n_spurious[row] = number
        n = 0
        while n < told.shape[1] and index[row, n] >= 0:
            n += 1
        for k in range(number):
            x0, y0, x1, y1 = words(position_key, k // 2, image, kernel)
            told[row, n + k, 0] = (2.0 * unit(x0 if k % 2 == 0 else x1) - 1.0) * half_x
            told[row, n + k, 1] = (2.0 * unit(y0 if k % 2 == 0 else y1) - 1.0) * half_y
            index[row, n + k] = n_drawn[row] + k
        n += number
        order = random_order(order_key, image, kernel, n)
        told[row, :n] = told[row, :n][order]
        index[row, :n] = index[row, :n][order]
