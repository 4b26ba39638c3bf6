"""From what the user wrote (a name or a TOML file, and overrides) to a validated spec."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from qpibench.errors import InvalidDataError, UsageError
from qpibench.specs.spec import MAX_NAME_LENGTH, ImportedSpec, ReleaseSpec


def spec_names() -> tuple[str, ...]:
    """Names of the specs that come with the package."""
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
    """
    fields = _read(str(source))
    changed = [text for text in overrides if _apply(fields, text)]
    if changed and not any(text.split("=")[0].strip() == "name" for text in changed):
        fields["name"] = _varied(str(fields.get("name", "")), changed)
    try:
        return ReleaseSpec.model_validate(fields)
    except ValidationError as error:
        raise UsageError(f"Spec {str(source)!r}: {explain(error, ReleaseSpec)}.") from None


def spec_from_json(text: str) -> ReleaseSpec | ImportedSpec:
    """Read the spec that a release stores.

    Raises
    ------
    InvalidDataError
        If the text is not the JSON of a spec.
    """
    model = ImportedSpec if '"source"' in text else ReleaseSpec
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise InvalidDataError(f"The stored spec is not valid: {explain(error, model)}.") from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of a validation error as one clause, with a suggestion for a misspelt field."""
    # A misspelt field is missing under its right name as well; the first is what the user can see.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    # Union branches and literals add parts that are no field names; a user knows the dotted path only.
    where = ".".join(str(part) for part in first["loc"] if not (isinstance(part, str) and "[" in part))
    if first["type"] == "extra_forbidden":
        known = sorted(_field_paths(model))
        near = difflib.get_close_matches(where, known, n=1) or [p for p in known if p.split(".")[-1] == where]
        return f"unknown field '{where}'" + (
            f"; did you mean '{near[0]}'?" if near else f" (known: {', '.join(known)})"
        )
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    found = first.get("input")
    shown = "" if first["type"] in ("missing", "value_error") else f", found {found!r}"
    return f"field '{where}': {message}{shown}" if where else message


def _varied(name: str, changes: Sequence[str]) -> str:
    """The name of a spec with overrides: it lists them, or their hash where the list is long."""
    suffix = ",".join(sorted(text.replace(" ", "") for text in changes))
    if len(name) + len(suffix) >= MAX_NAME_LENGTH or not suffix.isascii():
        suffix = hashlib.sha256(suffix.encode()).hexdigest()[:12]
    return f"{name}+{suffix}"


def _read(source: str) -> dict[str, Any]:
    if source in spec_names():
        return tomllib.loads((resources.files("qpibench.specs") / f"{source}.toml").read_text())
    path = Path(source)
    if not path.is_file():
        near = difflib.get_close_matches(source, spec_names(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known specs: {', '.join(spec_names())}; or give a TOML file."
        raise UsageError(f"There is no spec and no file '{source}'; {hint}")
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"Spec file '{source}' cannot be read: {error}.") from None


def _apply(fields: dict[str, Any], text: str) -> bool:
    """Set one override in place; return whether it changed anything."""
    path, equals, value = text.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise UsageError(f"Override '{text}' is not of the form field=value, such as seed=7 or kernels.count=300.")
    table: Any = fields
    for name in names[:-1]:
        table = table.setdefault(name, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise UsageError(f"Override '{text}': '{'.'.join(names[:-1])}' is not a table.")
    parsed = _parse_value(value.strip())
    changed = names[-1] not in table or table[names[-1]] != parsed
    table[names[-1]] = parsed
    return changed


def _parse_value(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _field_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    paths: list[str] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            paths += _field_paths(inner, f"{prefix}{name}.")
        else:
            paths.append(prefix + name)
    return paths
