"""Conversion of results of schema 1, such as those of the first board, to schema 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpibench.pages.notation import span

_PRIMARY = "rel_l2_capped"

ShownCell = tuple[str, str, str | None, str]
"""Task, view, map mode and the spec's SHA-256 of a cell."""


def from_schema_1(content: Mapping[str, Any], published: Mapping[ShownCell, Mapping[str, Any]]) -> dict[str, Any]:
    """Convert the content of a result file of schema 1 to schema 2.

    Schema 1 had one release, view and predictions file for all tasks. Its breakdowns were of the capped relative L2
    error, grouped by fold. Unknown keys are copied, so that validation names them.

    Most of these results predate tracks. A result with the inputs and the number of images of a cell of ``published``
    becomes a result of that cell.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        If the content is no result of schema 1.
    """
    content = dict(content)
    tasks = content.pop("tasks")
    record = content.pop("cell", None)
    shared = {
        "release": content.pop("release"),
        "view": content.pop("view"),
        "map_mode": content.pop("map_mode"),
        "failure": content.pop("failure"),
        "predictions_sha256": content.pop("predictions_sha256"),
        "prediction_run": content.pop("prediction_run"),
    }
    cells = {}
    for task, scores in tasks.items():
        others = dict(scores)
        breakdowns = {
            "scatterers": [
                _group(group, label=span(least, most), order=least)
                for group in map(dict, others.pop("by_scatterers"))
                for least, most in [(group.pop("min_scatterers"), group.pop("max_scatterers"))]
            ],
            "stratum": [
                _group(group, label={-1: "unknown", 0: "total"}.get(fold, f"{fold}-fold"), order=fold)
                for group in map(dict, others.pop("by_fold"))
                for fold in [group.pop("fold")]
            ],
        }
        shown = published.get((task, shared["view"], shared["map_mode"], shared["release"]["spec_sha256"]))
        size = None if shown is None else shown["size"] or others["n_available"]
        cells[task if record is None else record["cell"]] = {
            "record": record,
            "stands_for": shown if others["n_images"] == size else None,
            "primary": _PRIMARY if record is None else record["primary"],
            "metrics": others["metrics"],
            "parts": [{"task": task, **shared, **others, "breakdowns": breakdowns}],
        }
    return {**content, "schema_version": 2, "cells": cells}


def _group(group: dict[str, Any], **named: Any) -> dict[str, Any]:
    return {**named, "metrics": {_PRIMARY: group.pop(_PRIMARY)}, **group}
