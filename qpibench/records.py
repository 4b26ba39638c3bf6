"""What the records of the package have in common: :class:`Closed`, and the types of their fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1)]


class Closed(BaseModel):
    """A record that does not change and has no other fields; values are not converted to the type of a field."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
