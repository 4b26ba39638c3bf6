"""Requests of a track: for every cell and release, the images and the inputs that a model gets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpibench.errors import UsageError
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.predict import Request
from qpibench.evaluation.result import CellRecord
from qpibench.specs import ReleaseSpec
from qpibench.tasks.track import Cell, Track, find_cells

if TYPE_CHECKING:
    from qpibench.release import Release


@dataclass(frozen=True, kw_only=True)
class CellRequest:
    """Request of a cell for one of its releases.

    Attributes
    ----------
    name
        Name of the cell, followed by that of the spec if the cell has several; usable as a part of a file name.
    release
        The release of the spec.
    request
        The images to predict and the inputs shown.
    """

    name: str
    release: Release
    request: Request


def cell_requests(text: str, releases: Sequence[Release], *, limit: int | None = None) -> tuple[CellRequest, ...]:
    """Return the requests of a track, or of one of its cells.

    Parameters
    ----------
    text
        ``TRACK`` or ``TRACK/CELL``; see :func:`qpibench.tasks.track.find_cells`.
    releases
        A release of every spec that the cells name, and no other.
    limit
        Largest number of images per cell; the cell's size if None.

    Raises
    ------
    UsageError
        If the track, the cell or one of its metrics is unknown, or a release is missing or not named by any cell.
    """
    track, names = find_cells(text)
    by_spec = {release.spec.sha256: release for release in releases}
    asked = tuple(
        _request(track, name, track.cell(name), spec, by_spec, limit)
        for name in names
        for spec in track.cell(name).specs
    )
    used = {each.release.spec.sha256 for each in asked}
    for release in releases:
        if release.spec.sha256 not in used:
            specs = ", ".join(dict.fromkeys(spec.name for name in names for spec in track.cell(name).specs))
            raise UsageError(
                f"'{release.path}' is a release of another spec than track '{text}' names, which is {specs}."
            )
    return asked


def _request(
    track: Track, name: str, cell: Cell, spec: ReleaseSpec, releases: dict[str, Release], limit: int | None
) -> CellRequest:
    metrics = all_metrics()
    unknown = [metric for metric in cell.metrics if metric not in metrics]
    if unknown:
        known = ", ".join(metrics)
        raise UsageError(f"Track '{track.name}', cell '{name}': there is no metric '{unknown[0]}'; known: {known}.")
    if spec.sha256 not in releases:
        raise UsageError(
            f"Cell '{track.name}/{name}' needs a release of the spec '{spec.name}'; 'qpibench generate' makes it, and"
            " --release names it."
        )
    sizes = [size for size in (cell.size, limit) if size is not None]
    request = Request(
        tasks=(cell.task,),
        view=cell.view,
        map_mode=cell.map,
        limit=min(sizes, default=None),
        cell=CellRecord.of(track, name),
    )
    suffix = f".{re.sub(r'[^A-Za-z0-9._-]+', '_', spec.name)}" if len(cell.specs) > 1 else ""
    return CellRequest(name=name + suffix, release=releases[spec.sha256], request=request)
