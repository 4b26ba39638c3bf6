r"""Errors of the told positions: normal and independent along x and y.

Positions are found by eye or by a fit in a topography, and are off by a part of a pixel or more. A model is told

$$(x + \sigma z_x,\; y + \sigma z_y)$$

with normal numbers $z$ and the standard deviation $\sigma$, which is ``sigma_nm``; the image shows the scatterer at (x,
y). A told position may lie outside the field. Positions without a scatterer
(:mod:`qpibench.corruptions.spurious_scatterers`) have errors too, so that on a lattice their distance from its sites
does not give them away.

Stream ``position error``: draw p has the pair of normal numbers of the scatterer with the index 2p, and then that of
the next (:func:`qpibench.arithmetic.normals.normal_pair`). The index is that of the drawn scatterer, whether or not
others are missing; spurious positions follow the drawn scatterers. Products and sums are float64.

Source: this model of errors is our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.normals import normal_pair
from qpibench.arithmetic.philox import words
from qpibench.columns import Column
from qpibench.corruptions import Draft

if TYPE_CHECKING:
    from qpibench.specs.spec import ReleaseSpec

STAGE = "told"
ORDER = 30
EXAMPLE = {"sigma_nm": 0.1}


class Settings(BaseModel):
    """Settings of position errors.

    ``sigma_nm`` is the standard deviation of the told coordinates about the true ones, in x and in y.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sigma_nm: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = Field(
        description="standard deviation of told positions about the true ones, per axis; at most the field's size"
    )


COLUMNS = tuple(
    Column(
        name=f"position_error_{axis}_nm",
        dtype="<f8",
        per="scatterer",
        units="nm",
        long_name=f"error in the told {axis} of the drawn scatterers, then of the spurious positions",
        absent=np.nan,
    )
    for axis in ("x", "y")
)


def check(settings: Settings, spec: ReleaseSpec) -> None:
    """Refuse errors larger than the field; see :class:`qpibench.corruptions.Restricted`."""
    most_nm = min(spec.grid.size_x_nm, spec.grid.size_y_nm)
    if settings.sigma_nm > most_nm:
        raise ValueError(
            f"corruptions.position_error.sigma_nm = {settings.sigma_nm:g} must be above 0 and at most {most_nm:g} nm,"
            " the size of the field"
        )


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Move the told positions of a draft; see :class:`qpibench.corruptions.Corruption`."""
    error = np.full(draft.told_position_nm.shape, np.nan)
    key = draft.key("position error")
    _move(key, draft.start, draft.per_kernel, settings.sigma_nm, draft.told_index, draft.told_position_nm, error)
    return {column.name: np.ascontiguousarray(error[..., axis]) for axis, column in enumerate(COLUMNS)}


@compiled(nogil=True, error_model="numpy")
def _move(key, start, per_kernel, sigma, index, told, error):  # type: ignore[no-untyped-def]
    """Move the positions ``told`` (observation, place, xy), and fill ``error`` (observation, index, xy)."""
    for row in range(len(told)):
        kernel, image = divmod(start + row, per_kernel)
        for place in range(told.shape[1]):
            k = index[row, place]
            if k < 0:
                break
            w0, w1, w2, w3 = words(key, k // 2, image, kernel)
            x, y = normal_pair(w0, w1) if k % 2 == 0 else normal_pair(w2, w3)
            error[row, k, 0] = sigma * np.float64(x)
            error[row, k, 1] = sigma * np.float64(y)
            told[row, place, 0] += error[row, k, 0]
            told[row, place, 1] += error[row, k, 1]
