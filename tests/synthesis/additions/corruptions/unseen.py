"""A toy corruption of the scatterers: every image has one more, at its centre, that nobody is told of."""

from pydantic import BaseModel, ConfigDict

STAGE = "scatterers"
ORDER = 20
EXAMPLE = {"count": 1}
COLUMNS = ()


class Settings(BaseModel):
    """How many scatterers lie at the centre."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    count: int


def extra_scatterers(settings, spec):
    return settings.count


def corrupt(settings, draft):
    for row, count in enumerate(draft.n_scatterers):
        draft.position_nm[row, count : count + settings.count] = 0.0
    draft.n_scatterers += settings.count
    return {}
