"""A toy corruption of what is told: every position is off by a drawn distance along x."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.philox import unit, words
from qpibench.columns import Column

STAGE = "told"
ORDER = 10
EXAMPLE = {"off_nm": 0.25}


class Settings(BaseModel):
    """The largest distance."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    off_nm: float


COLUMNS = (
    Column(name="off_nm", dtype="<f8", per="scatterer", units="nm", long_name="told x less true x", absent=np.nan),
)


@compiled()
def _draw(key, start, per_kernel, off):
    for row in range(len(off)):
        kernel, image = divmod(start + row, per_kernel)
        for scatterer in range(off.shape[1]):
            off[row, scatterer] = 2.0 * unit(words(key, scatterer, image, kernel)[0]) - 1.0


def corrupt(settings, draft):
    off = np.empty(draft.amplitude.shape)
    _draw(draft.key("shaken"), draft.start, draft.per_kernel, off)
    off = np.where(np.isnan(draft.position_nm[..., 0]), np.nan, off * settings.off_nm)
    draft.told_position_nm[..., 0] += off
    return {"off_nm": off}
