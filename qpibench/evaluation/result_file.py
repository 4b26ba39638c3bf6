"""Reads and writes result files. Files of schema 1 are converted, see :mod:`qpibench.evaluation.schema_1`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.result import SCHEMA_VERSION, CellRecord, Result
from qpibench.evaluation.schema_1 import ShownCell, from_schema_1
from qpibench.files import write_whole
from qpibench.parsing import parse_json, shown
from qpibench.specs.load import explain
from qpibench.tasks.track import load_track


def load_result(path: str | Path) -> Result:
    """Read a result file.

    Raises
    ------
    UsageError
        If there is no such file or it cannot be read.
    InvalidDataError
        If it is not a result, or one of another schema version.
    """
    return parse_result(read_content(path), path)


def read_content(path: str | Path) -> bytes:
    """Return the content of a result file; UsageError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"Result file '{path}' cannot be read: {error.strerror}.") from None


def parse_result(text: bytes, path: str | Path) -> Result:
    """Parse the content of a result file.

    Raises
    ------
    InvalidDataError
        If it is not a result, or one of another schema version; messages name ``path``.
    """
    content = parse_json(text, f"'{path}' is not a result file: it")
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version is None:
        raise InvalidDataError(f"'{path}' is not a result file: it has no schema_version.")
    if version not in (1, SCHEMA_VERSION):
        raise InvalidDataError(
            f"Result file '{path}' has schema_version {shown(version)}, this qpibench reads 1 and {SCHEMA_VERSION};"
            " score its predictions again or use the version of qpibench that wrote it."
        )
    if version == 1:
        try:
            content = from_schema_1(content, _published_cells())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidDataError(
                f"Result file '{path}' is not valid: it is none of schema_version 1 ({error})."
            ) from None
    try:
        result = Result.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise InvalidDataError(f"Result file '{path}' is not valid: {explain(error, Result)}.") from None
    for name in content["cells"] if version == SCHEMA_VERSION else ():
        if "stands_for" in content["cells"][name]:
            raise InvalidDataError(f"Result file '{path}' is not valid: unknown field 'cells.{name}.stands_for'.")
    return result


@cache
def _published_cells() -> dict[ShownCell, dict[str, Any]]:
    """Return the records of the cells of the track `paper` by their inputs, which older results name without a cell."""
    track = load_track("paper")
    return {
        (cell.task, cell.view, cell.map, cell.specs[0].sha256): CellRecord.of(track, name).model_dump(mode="json")
        for name, cell in track.cells.items()
    }


def save_result(result: Result, path: str | Path) -> None:
    """Write a result file atomically, with numbers in full precision.

    Raises
    ------
    UsageError
        If the folder is missing or cannot be written to.
    QpibenchError
        If writing fails, as on a full disk.
    """
    text = json.dumps(result.model_dump(mode="json"), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_whole(Path(path), text.encode(), what="Result file")
