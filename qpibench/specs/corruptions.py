"""The corruptions of a spec: a table of tables, each of which is the settings of one corruption."""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator, SerializeAsAny, create_model
from pydantic_core import PydanticCustomError

from qpibench.corruptions import corruption_names, get_corruption, in_order


def corruptions_model() -> type[BaseModel]:
    """Return a pydantic model with one field per corruption; None for a corruption that the spec does not use."""
    return _model(tuple((name, get_corruption(name).Settings) for name in corruption_names()))


@cache
def _model(settings: tuple[tuple[str, type[BaseModel]], ...]) -> type[BaseModel]:
    # It takes milliseconds to make the class, and every spec needs it.
    fields: dict[str, Any] = {name: (kind | None, None) for name, kind in settings}
    return create_model("Corruptions", __config__=ConfigDict(frozen=True, extra="forbid"), **fields)


def _corruptions(value: Any) -> dict[str, BaseModel] | None:
    # An empty table means no corruption, and must have the same hash.
    if not value and (value is None or isinstance(value, dict)):
        return None
    if not isinstance(value, dict):
        raise PydanticCustomError("model_type", "should be a table of fields")
    tables = {name: table.model_dump() if isinstance(table, BaseModel) else table for name, table in value.items()}
    found = corruptions_model().model_validate_json(json.dumps(tables, default=str), strict=True)
    settings = {name: table for name, table in found if table is not None}
    return {name: settings[name] for name in in_order(list(settings))} or None


Corruptions = Annotated[dict[str, SerializeAsAny[BaseModel]] | None, PlainValidator(_corruptions)]
"""Settings by name, in the order in which the corruptions act; None if there are none."""
