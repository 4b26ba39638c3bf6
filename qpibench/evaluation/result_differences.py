"""Compares a stored result with one derived again from the same predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from qpibench.evaluation.result import Result


def compare_results(stored: Result, derived: Result, *, tolerance: float = 1e-9) -> list[str]:
    """List the differences of two results, one sentence per field; the list is empty if they agree.

    Numbers may differ by ``tolerance`` relative to the larger of the two, because sums are not bit-identical on all
    machines, and pictures by two grey levels. Everything else must be equal. Times, memory and environments are not
    compared: they differ between two runs of one model.
    """
    measured: dict[str, Any] = {
        "scoring_run": True,
        "cells": {
            "__all__": {
                "parts": {"__all__": {"predict_seconds": True, "prediction_run": True, "median_image": {"pixels"}}}
            }
        },
    }
    left, right = (result.model_dump(mode="json", exclude=measured) for result in (stored, derived))
    return [*_differences("", left, right, tolerance), *_other_pictures(stored, derived)]


def _other_pictures(stored: Result, derived: Result) -> Iterator[str]:
    for name in stored.cells.keys() & derived.cells.keys():
        pairs = zip(stored.cells[name].parts, derived.cells[name].parts, strict=False)
        for place, (left, right) in enumerate(pairs):
            if left.median_image and right.median_image and not left.median_image.shows_the_same(right.median_image):
                yield f"cells.{name}.parts[{place}].median_image shows other pictures in the stored result."


def _differences(where: str, left: Any, right: Any, tolerance: float) -> Iterator[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            path = f"{where}.{key}" if where else str(key)
            if key not in left or key not in right:
                yield f"{path} is only in the {'stored' if key in left else 're-derived'} result."
            else:
                yield from _differences(path, left[key], right[key], tolerance)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for place, (a, b) in enumerate(zip(left, right, strict=True)):
            yield from _differences(f"{where}[{place}]", a, b, tolerance)
    elif (left is None or right is None) and isinstance(left or right, dict):
        yield f"{where} is only in the {'re-derived' if left is None else 'stored'} result."
    elif isinstance(left, float) and isinstance(right, float):
        if not math.isclose(left, right, rel_tol=tolerance):
            yield f"{where} is {left!r} in the stored result and {right!r} re-derived."
    elif left != right:
        yield f"{where} is {left!r} in the stored result and {right!r} re-derived."
