"""JSON Schema of a spec and the list of its keys, made from the models of specs, families and corruptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any

from pydantic import BaseModel, Field, create_model

from qpibench.families import family_names, get_family
from qpibench.specs.corruptions import corruptions_model
from qpibench.specs.spec import ReleaseSpec

_UNITS = {"nm": "nm", "nm2": "1/nm²", "db": "dB", "deg": "degree", "rad": "rad", "mev": "meV", "px": "pixel"}
"""Units by the last part of a key; densities are per nm²."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of a spec.

    Attributes
    ----------
    path
        Dotted name with its tables, such as ``"kernels.count"``.
    type, unit, bounds
        Type, unit and bounds of the value in words; unit and bounds may be empty.
    default
        Default value as TOML; ``"required"`` if there is none, or empty if the key is then absent.
    meaning
        Description of the value.
    """

    path: str
    type: str
    unit: str
    default: str
    bounds: str
    meaning: str


def spec_schema(family: str | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a spec file, with one kernel family or all, and all registered corruptions."""
    families = [get_family(name).Ranges for name in family_names() if family in (None, name)]
    described = ReleaseSpec.model_fields
    kernels: Any = reduce(or_, families)
    corruptions: Any = corruptions_model() | None
    model = create_model(
        "ReleaseSpec",
        __base__=ReleaseSpec,
        kernels=(kernels, Field(description=described["kernels"].description)),
        corruptions=(corruptions, Field(default=None, description=described["corruptions"].description)),
        __doc__=ReleaseSpec.__doc__,
    )
    return model.model_json_schema()


def spec_keys(family: str | None = None) -> tuple[Key, ...]:
    """Return every key of a spec that is no table, of one kernel family or all, in the order of the models."""
    schema = spec_schema(family)
    keys: dict[str, Key] = {}
    for key in _keys(schema, schema.get("$defs", {}), ""):  # families share keys, such as their own name
        former = keys.get(key.path, key)
        bounds = key.bounds if former.bounds == key.bounds else f"{former.bounds}, {key.bounds}"
        keys[key.path] = replace(former, bounds=bounds)
    return tuple(keys.values())


def model_keys(model: type[BaseModel]) -> tuple[Key, ...]:
    """Return every key of a model that is no table, in its order."""
    schema = model.model_json_schema()
    return tuple(_keys(schema, schema.get("$defs", {}), ""))


def _keys(table: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str) -> Iterator[Key]:
    for name, field in table["properties"].items():
        kinds = _kinds(field, definitions)
        tables = [kind for kind in kinds if "properties" in kind]
        for kind in tables:
            yield from _keys(kind, definitions, f"{prefix}{name}.")
        if not tables:
            yield Key(
                path=prefix + name,
                type=" or ".join(dict.fromkeys(_type(kind, definitions) for kind in kinds)),
                unit="rad/nm" if name.endswith("_rad_nm") else _UNITS.get(name.rpartition("_")[2], ""),
                default="required" if name in table.get("required", ()) else _toml(field.get("default")),
                bounds="; ".join(dict.fromkeys(bounds for kind in kinds if (bounds := _bounds(kind, definitions)))),
                meaning=field.get("description", ""),
            )


def _kinds(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the alternative schemas of a value, without null."""
    if "$ref" in field:
        return _kinds(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in field or ("oneOf" in field and "properties" not in field):
        parts = field.get("anyOf", field.get("oneOf", ()))
        return [kind for part in parts for kind in _kinds(part, definitions) if kind.get("type") != "null"]
    return [field]


def _type(kind: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "prefixItems" in kind:
        return f"[{', '.join(_type(_kinds(item, definitions)[0], definitions) for item in kind['prefixItems'])}]"
    match kind.get("type"):
        case "array":
            return f"list of {_type(_kinds(kind['items'], definitions)[0], definitions)}s"
        case "object":
            inner = _kinds(kind["additionalProperties"], definitions)[0]
            return f"table of {_type(inner, definitions)}s"
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case known:
            return str(known or "value")


def _bounds(kind: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the bounds of a number, of the members of a list, or of a text's length, in words."""
    for inner in (*kind.get("prefixItems", ())[:1], kind.get("items"), kind.get("additionalProperties")):
        if isinstance(inner, Mapping):
            return _bounds(_kinds(inner, definitions)[0], definitions)
    if "const" in kind or "enum" in kind:
        return ", ".join(_toml(value) for value in kind.get("enum", [kind.get("const")]))
    bounds = {
        "at least": kind.get("minimum"),
        "above": kind.get("exclusiveMinimum"),
        "at most": kind.get("maximum"),
        "below": kind.get("exclusiveMaximum"),
    }
    if "maxLength" in kind:
        bounds["at most"] = f"{kind['maxLength']} characters"
    return ", ".join(f"{word} {_number(value)}" for word, value in bounds.items() if value is not None)


def _number(value: Any) -> str:
    """Return a number as text; powers of two as ``2^n``."""
    if isinstance(value, str):
        return value
    if value >= 2**20 and int(value).bit_count() == 1:
        return f"2^{int(value).bit_length() - 1}"
    return f"{value:g}" if abs(value) < 1e6 else f"{value:,.0f}"


def _toml(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return f"{value}".lower() if isinstance(value, bool) else f"{value}"
