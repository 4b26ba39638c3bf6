r"""Missing scatterers: some scatterers in the image are not told.

Of the $n$ drawn scatterers of an image a model is not told of

$$\min(\max(\lfloor s n + \tfrac12 \rfloor, m), n - 1), \qquad m = 1 \text{ where } n \ge 10, \text{ otherwise } 0,$$

with the share $s$, which is ``share``. All scatterers are equally likely to be missing. The others keep their order.
The image shows all of them.

Stream ``missing scatterers``: draw q has the four words of the scatterers 4q to 4q + 3. The scatterers with the
smallest words are missing, and of equal words the first; a larger share therefore leaves out the same scatterers and
more.

Source: this model of what is overlooked is our own.
"""

from __future__ import annotations

from typing import Annotated, Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.philox import random_order
from qpibench.columns import Column
from qpibench.corruptions import Draft

STAGE = "told"
ORDER = 10
EXAMPLE = {"share": 0.2}

LEAST_FROM = 10
"""Images with at least this many scatterers have at least one that is missing, or spurious."""


class Settings(BaseModel):
    """Settings of missing scatterers.

    ``share`` is the share of an image's scatterers that are not told, rounded to whole scatterers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = Field(
        description="share of the scatterers that a model is not told of"
    )


COLUMNS = (
    Column(
        name="n_missing",
        dtype="<i4",
        per="observation",
        units="1",
        long_name="number of drawn scatterers of which a model is not told",
        absent=0,
    ),
    Column(
        name="is_missing",
        dtype="<i4",
        per="scatterer",
        units="1",
        long_name="1 for a drawn scatterer of which a model is not told, otherwise 0",
        absent=0,
    ),
)


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Leave told positions of a draft out; see :class:`qpibench.corruptions.Corruption`."""
    n_missing = np.zeros(len(draft), np.int32)
    is_missing = np.zeros(draft.told_position_nm.shape[:2], np.int32)
    key = draft.key("missing scatterers")
    told = draft.told_position_nm, draft.told_index
    _leave_out(key, draft.start, draft.per_kernel, settings.share, draft.n_drawn, *told, n_missing, is_missing)
    return {"n_missing": n_missing, "is_missing": is_missing}


def number_of(share: float, n: int) -> int:
    """A share of n scatterers in whole scatterers: rounded, and at least 1 where n >= ``LEAST_FROM``."""
    return max(int(share * n + 0.5), 1 if n >= LEAST_FROM else 0)


compiled_number_of = nb.njit(inline="always")(number_of)
"""The same, for compiled functions."""


@compiled(nogil=True, error_model="numpy")
def _leave_out(key, start, per_kernel, share, count, told, index, n_missing, is_missing):  # type: ignore[no-untyped-def]
    """Leave out positions of ``told`` (observation, scatterer, xy), which has ``count`` of each observation."""
    for row in range(len(told)):
        kernel, image = divmod(start + row, per_kernel)
        n = count[row]
        n_missing[row] = min(compiled_number_of(share, n), n - 1)
        order = random_order(key, image, kernel, n)
        for k in order[: n_missing[row]]:
            is_missing[row, k] = 1
        kept = 0
        for k in range(n):
            if not is_missing[row, k]:
                told[row, kept] = told[row, k]
                index[row, kept] = index[row, k]
                kept += 1
        told[row, kept:n] = np.nan
        index[row, kept:n] = -1
