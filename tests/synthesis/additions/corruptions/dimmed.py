"""A toy corruption of the scatterers: every second one is turned over and weaker."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from qpibench.columns import Column

STAGE = "scatterers"
ORDER = 10
EXAMPLE = {"factor": -0.5}


class Settings(BaseModel):
    """By what every second scatterer is multiplied."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    factor: float


COLUMNS = (
    Column(name="dimmed_to", dtype="<f4", per="scatterer", units="1", long_name="factor of the scatterer", absent=1.0),
)


def corrupt(settings, draft):
    draft.amplitude[:, 1::2] *= np.float32(settings.factor)
    return {"dimmed_to": draft.amplitude.copy()}
