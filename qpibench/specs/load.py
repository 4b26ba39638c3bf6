"""Loads a spec from its name or a TOML file, applies overrides, and validates it."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from qpibench.errors import InvalidDataError, UsageError
from qpibench.families import family_names
from qpibench.parsing import check_nesting, cut, parse_json, parse_toml, shown, toml_value
from qpibench.specs.schema import spec_keys
from qpibench.specs.spec import MAX_NAME_LENGTH, ImportedSpec, ReleaseSpec, expand_count
from qpibench.specs.suggest import suggestions


def spec_names() -> tuple[str, ...]:
    """Return the names of the shipped specs."""
    return tuple(sorted(p.name[:-5] for p in resources.files("qpibench.specs").iterdir() if p.name.endswith(".toml")))


def load_spec(source: str | Path, *, overrides: Sequence[str] = ()) -> ReleaseSpec:
    """Load a spec by name or from a TOML file.

    Parameters
    ----------
    source
        The name of a shipped spec (see :func:`spec_names`) or the path of a TOML file.
    overrides
        ``"field=value"`` texts, nested fields with dots (``"kernels.count=300"``), values in TOML syntax. A value that
        differs from the original is appended to the spec's name, because it makes another release.

    Raises
    ------
    UsageError
        If the spec or a field is unknown, or a value is not valid.
    InvalidDataError
        If the file is not TOML.
    """
    original = _read(str(source))
    if isinstance(scatterers := original.get("scatterers"), dict):
        with suppress(ValueError):  # a wrong count is reported with the rest of the spec
            original["scatterers"] = expand_count(scatterers)
    fields = deepcopy(original)
    paths = {path for text in overrides for path in _apply(fields, text)}
    spec = _validated(fields, str(source))
    if "name" in paths:
        return spec
    with suppress(UsageError):  # what overrides complete need not be valid without them
        before = _validated(original, str(source))
        paths = {path for path in paths if _value(before, path) != _value(spec, path)}
    return _validated(fields | {"name": _varied(spec, paths)}, str(source)) if paths else spec


def spec_from_json(text: str, *, subject: str = "The stored spec") -> ReleaseSpec | ImportedSpec:
    """Read the spec that a release stores.

    Parameters
    ----------
    text
        JSON, as :meth:`ReleaseSpec.canonical_json` gives it.
    subject
        Subject of an error's sentence.

    Raises
    ------
    InvalidDataError
        If the text is not the JSON of a spec.
    """
    fields = parse_json(text, subject)
    imported = isinstance(fields, dict) and "source" in fields
    model: type[ImportedSpec | ReleaseSpec] = ImportedSpec if imported else ReleaseSpec
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise InvalidDataError(f"{subject} is not valid: {explain(error, model, family=_family(fields))}.") from None


def _beside(field: str, known: Iterable[str]) -> list[str]:
    """Return the known fields and tables of the table that has a field, or of the whole spec."""
    table = field.rpartition(".")[0]
    prefix = f"{table}." if table else ""
    inside = {prefix + path.removeprefix(prefix).partition(".")[0] for path in known if path.startswith(prefix)}
    return sorted(inside) or _beside("", known)


def explain(error: ValidationError, model: type[BaseModel], *, family: str | None = None) -> str:
    """Return the first problem of a validation error as one clause, with a suggestion for a misspelt field.

    ``family`` is the kernel family of a spec; the keys of other families are not suggested.
    """
    # A misspelt field is missing under its right name as well; the first is what the user can see.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    # Union branches and literals add parts that are no field names; a user knows the dotted path only.
    where = ".".join(str(part) for part in first["loc"] if not (isinstance(part, str) and "[" in part))
    if first["type"] == "extra_forbidden":
        if owners := _families_with(where) if family else ():
            return (
                f"field '{where}' is of the family {' or '.join(owners)}, and kernels.family is {family}; leave it out"
            )
        known = sorted(_field_paths(model, family=family))
        near = suggestions(where, first.get("input"), known, synonyms=model is ReleaseSpec)
        return f"unknown field '{cut(where)}' " + (
            f"(did you mean {' or '.join(map(repr, near))}?)"
            if near
            else f"(known: {', '.join(_beside(where, known))})"
        )
    message = first["msg"].removeprefix("Value error, ")
    message = re.sub(r"; (did you mean .*\?)$", r" (\1)", message[:1].lower() + message[1:])
    if first["type"] == "model_type":
        message = "should be a table of fields"
        inner = [
            path.removeprefix(f"{where}.")
            for path in _field_paths(model, family=family)
            if path.startswith(f"{where}.")
        ]
        message += f" ({', '.join(inner)})" if inner else ""
    found = first.get("input")
    but = "" if first["type"] in ("missing", "value_error") else f", found {shown(found)}"
    return f"field '{cut(where)}': {message}{but}" if where else message


def _families_with(path: str) -> tuple[str, ...]:
    return tuple(name for name in family_names() if path in (key.path for key in spec_keys(name)))


def _validated(fields: dict[str, Any], source: str) -> ReleaseSpec:
    try:
        check_nesting(fields)  # overrides nest as deep as they have dots
    except ValueError as error:
        raise UsageError(f"Spec '{source}' is not valid: {error}.") from None
    try:
        # Through JSON, because that is strict about numbers and truth values and still takes lists and whole floats.
        text, folder = json.dumps(fields, default=str), Path(source).parent
        return ReleaseSpec.model_validate_json(text, strict=True, context={"folder": folder})
    except ValidationError as error:
        raise UsageError(f"Spec '{source}': {explain(error, ReleaseSpec, family=_family(fields))}.") from None


def _family(fields: Any) -> str | None:
    """Return the kernel family that the fields of a spec name, or None if there is none of that name."""
    kernels = fields.get("kernels") if isinstance(fields, dict) else None
    name = kernels.get("family", "eq7") if isinstance(kernels, dict) else None
    return name if name in family_names() else None


def _value(spec: ReleaseSpec, path: str) -> Any:
    value: Any = spec.model_dump(mode="json")
    for name in path.split("."):
        value = value and value.get(name)  # a table that is not there has no fields
    return value


def _varied(spec: ReleaseSpec, paths: Iterable[str]) -> str:
    """Return the name of a spec with overrides: it lists the resulting values, or their hash if the list is long."""
    changes = ",".join(f"{path}={json.dumps(_value(spec, path), separators=(',', ':'))}" for path in sorted(paths))
    if len(spec.name) + len(changes) >= MAX_NAME_LENGTH:
        changes = hashlib.sha256(changes.encode()).hexdigest()[:12]
    return f"{spec.name}+{changes}"


def _read(source: str) -> dict[str, Any]:
    if source in spec_names():
        return parse_toml((resources.files("qpibench.specs") / f"{source}.toml").read_bytes(), f"Spec '{source}'")
    path = Path(source)
    if not os.path.isfile(path):
        near = difflib.get_close_matches(source, spec_names(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known specs: {', '.join(spec_names())}; or give a TOML file."
        raise UsageError(f"There is no spec and no file '{source}'; {hint}")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"Spec file '{source}' cannot be read: {error.strerror}.") from None
    return parse_toml(text, f"Spec file '{source}' cannot be read: it")


def _apply(fields: dict[str, Any], text: str) -> tuple[str, ...]:
    """Set one override in place; return the dotted path of the field, or of the fields of a short form."""
    path, equals, value = text.partition("=")
    names = [name.strip() for name in path.split(".")]
    if not equals or not all(names):
        raise UsageError(f"Override '{cut(text)}' is not of the form field=value, such as seed=7 or kernels.count=300.")
    table: Any = fields
    for name in names[:-1]:
        table = table.setdefault(name, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise UsageError(f"Override '{cut(text)}': '{cut('.'.join(names[:-1]))}' is not a table.")
    given = toml_value(value.strip())
    if names == ["scatterers", "count"]:
        try:
            table |= expand_count({"count": given})
        except ValueError as error:
            raise UsageError(f"Override '{cut(text)}': {error}.") from None
        return "scatterers.min", "scatterers.max"
    table[names[-1]] = given
    return (".".join(names),)


def _field_paths(model: type[BaseModel], prefix: str = "", *, family: str | None = None) -> list[str]:
    if model is ReleaseSpec:
        return [prefix + key.path for key in spec_keys(family)]
    paths: list[str] = []
    for name, field in model.model_fields.items():
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_table(kind)]
        paths += [path for table in inner for path in _field_paths(table, f"{prefix}{name}.", family=family)] or [
            prefix + name
        ]
    return list(dict.fromkeys(paths))


def _is_table(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
