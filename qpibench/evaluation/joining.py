"""Joins results: the parts of a cell into their macro-average, and the cells of a track into one result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from qpibench.errors import InvalidDataError
from qpibench.evaluation.result import CellResult, Floor, Interval, PartResult, Result, SuiteRecord


def macro_average(parts: Sequence[PartResult]) -> dict[str, Interval]:
    """Return the mean over families of kernels, with equal weights, of every metric that all parts have.

    The score of a family is the mean over its parts, with equal weights. The parts are measured on different releases,
    so their errors are independent, but for the track `blind`, whose releases have one seed. Each half width is the
    root of the sum of the squared half widths, divided by their number (Zou and Donner, Stat. Med. 27, 1693 (2008)).
    """
    return _means_of_families(parts, [part.metrics for part in parts])


def family_scores(parts: Sequence[PartResult]) -> dict[str, dict[str, Interval]]:
    """Return the scores of each family of kernels, by its name: the mean over its parts of every metric they have."""
    return _of_families(parts, [part.metrics for part in parts])


def mean_floor(parts: Sequence[PartResult]) -> Floor | None:
    """Return the mean of the parts' floors, as :func:`macro_average`; None if a part or every metric has none."""
    floors = [part.floor for part in parts if part.floor is not None]
    metrics = _means_of_families(parts, [floor.metrics for floor in floors]) if len(floors) == len(parts) else {}
    return (
        Floor(metrics=metrics, added=_means_of_families(parts, [floor.added for floor in floors])) if metrics else None
    )


def _means_of_families(parts: Sequence[PartResult], values: Sequence[Mapping[str, Interval]]) -> dict[str, Interval]:
    """Return the mean over families of the mean of the values of each family's parts."""
    return _means(list(_of_families(parts, values).values()))


def _of_families(
    parts: Sequence[PartResult], values: Sequence[Mapping[str, Interval]]
) -> dict[str, dict[str, Interval]]:
    """Return the mean of the values of each family's parts, by the family's name."""
    members: dict[str, list[Mapping[str, Interval]]] = {}
    for part, each in zip(parts, values, strict=True):
        members.setdefault(part.family or "", []).append(each)
    return {family: _means(of_parts) for family, of_parts in members.items()}


def _means(parts: Sequence[Mapping[str, Interval]]) -> dict[str, Interval]:
    if len(parts) == 1:
        return dict(parts[0])
    return {name: _mean([part[name] for part in parts]) for name in parts[0] if all(name in part for part in parts)}


def _mean(scores: Sequence[Interval]) -> Interval:
    value = math.fsum(score.value for score in scores) / len(scores)
    below = math.hypot(*(score.value - score.low for score in scores)) / len(scores)
    above = math.hypot(*(score.high - score.value for score in scores)) / len(scores)
    return Interval(value=value, low=value - below, high=value + above)


def join(
    results: Sequence[Result],
    *,
    suite: SuiteRecord | None = None,
    not_applicable: Mapping[str, str] | None = None,
    finished: bool = True,
) -> Result:
    """Join the results of one entry for the cells of a track or a suite, each made from one predictions file.

    Parameters
    ----------
    results
        At least one result. Results of the same cell become its parts, in the order given.
    suite
        The suite that the cells belong to; they are then named TRACK/CELL.
    not_applicable
        Cells of the suite that the entry cannot take, by TRACK/CELL, with the reason.
    finished
        Whether no cell is still to be evaluated.

    Raises
    ------
    InvalidDataError
        If the results differ in entry or evaluator, a cell's release occurs twice, or results of a cell differ in their
        requests.
    """
    first = results[0]
    if len(results) == 1 and suite is None and finished:
        return first
    for other in results[1:]:
        for field in ("model", "evaluator_version", "intervals", "visibility"):
            if getattr(first, field) != getattr(other, field):
                raise InvalidDataError(f"Results cannot be joined: their {field} is not the same.")
    cells: dict[str, CellResult] = {}
    for name, cell in (item for result in results for item in result.cells.items()):
        name = name if suite is None or cell.record is None else cell.record.label
        former = cells.get(name)
        if former is None:
            cells[name] = cell
            continue
        if former.record != cell.record:
            raise InvalidDataError(f"Results cannot be joined: their tracks define the cell '{name}' differently.")
        # Pages show the median image of the first part; those of all parts would make up most of the file.
        parts = (*former.parts, *(part.model_copy(update={"median_image": None}) for part in cell.parts))
        if cell.record is None or len({part.release.content_sha256 for part in parts}) < len(parts):
            raise InvalidDataError(f"Results cannot be joined: cell '{name}' occurs twice.")
        cells[name] = CellResult(
            record=cell.record,
            primary=cell.primary,
            metrics=macro_average(parts),
            floor=mean_floor(parts),
            parts=parts,
        )
    seconds = [result.scoring_run.seconds for result in results]
    memory = [result.scoring_run.peak_memory_bytes for result in results]
    known = [each for each in seconds if each is not None]
    failed = any(cell.failed for cell in cells.values())
    return first.model_copy(
        update={
            "status": "unfinished" if not finished else "failed" if failed else "complete",
            "suite": suite,
            "cells": cells,
            "not_applicable": dict(not_applicable or {}),
            "scoring_run": first.scoring_run.model_copy(
                update={
                    "seconds": sum(known) if len(known) == len(seconds) else None,
                    "peak_memory_bytes": max((each for each in memory if each is not None), default=None),
                }
            ),
        }
    )
