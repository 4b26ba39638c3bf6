"""A toy corruption of the scatterers: all of them are moved along x."""

from pydantic import BaseModel, ConfigDict

STAGE = "scatterers"
ORDER = 30
EXAMPLE = {"by_nm": 0.5}
COLUMNS = ()


class Settings(BaseModel):
    """How far."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    by_nm: float


def outside_nm(settings, spec):
    return settings.by_nm


def corrupt(settings, draft):
    draft.position_nm[..., 0] += settings.by_nm
    return {}
