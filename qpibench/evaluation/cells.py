"""Requests of a track: for every cell and release, the images and the inputs that a model gets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpibench.errors import UsageError
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.predict import Request
from qpibench.evaluation.result import CellRecord
from qpibench.tasks.suite import SuiteCell, specs_of
from qpibench.tasks.track import find_cells

if TYPE_CHECKING:
    from qpibench.release import Release


_LISTED = 6
"""Largest number of specs that a message lists."""


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
    cells = tuple(SuiteCell(track, name) for name in names)
    given = by_spec(cells, releases)
    return tuple(request for each in cells for request in requests_of(each, given, limit=limit))


def by_spec(cells: Sequence[SuiteCell], releases: Sequence[Release]) -> dict[str, Release]:
    """Return releases by the hash of their spec.

    Raises
    ------
    UsageError
        If one is of a spec that no cell names.
    """
    specs = specs_of(cells)
    for release in releases:
        if release.spec.sha256 not in specs:
            tracks = ", ".join(dict.fromkeys(f"'{each.track.name}'" for each in cells))
            names = ", ".join(spec.name for spec in specs.values()) if len(specs) <= _LISTED else ""
            raise UsageError(
                f"'{release.path}' is a release of the spec '{release.name}', which no cell of {tracks} names"
                f"{f'; they name {names}' if names else ''}."
            )
    return {release.spec.sha256: release for release in releases}


def requests_of(
    asked: SuiteCell, releases: Mapping[str, Release], *, limit: int | None = None
) -> tuple[CellRequest, ...]:
    """Return the requests of a cell, one for each of its specs.

    Parameters
    ----------
    asked
        The cell.
    releases
        Releases by the hash of their spec.
    limit
        Largest number of images per release; the cell's size if None.

    Raises
    ------
    UsageError
        If one of the cell's metrics is unknown, or a release is missing.
    """
    cell, metrics = asked.cell, all_metrics()
    unknown = [metric for metric in cell.metrics if metric not in metrics]
    if unknown:
        known = ", ".join(metrics)
        raise UsageError(
            f"Track '{asked.track.name}', cell '{asked.name}': there is no metric '{unknown[0]}'; known: {known}."
        )
    if not metrics[cell.primary].ranks:
        ranking = ", ".join(metric for metric in cell.metrics if metrics[metric].ranks) or "none of the cell's"
        raise UsageError(
            f"Track '{asked.track.name}', cell '{asked.name}': the metric '{cell.primary}' does not rank entries;"
            f" choose another primary out of: {ranking}."
        )
    for spec in cell.all_specs:
        if spec.sha256 not in releases:
            raise UsageError(
                f"Cell '{asked.label}' needs a release of the spec '{spec.name}'; 'qpibench generate' makes it, and"
                " --release names it; --data DIR makes and finds all releases."
            )
    sizes = [size for size in (cell.size, limit) if size is not None]
    request = Request(
        tasks=(cell.task,),
        view=cell.view,
        map_mode=cell.map,
        limit=min(sizes, default=None),
        cell=CellRecord.of(asked.track, asked.name),
        training=None if cell.training is None else releases[cell.training.sha256],
        told_species=cell.told_species,
        kernel_px=cell.kernel_px,
    )
    many = len(cell.specs) > 1
    return tuple(
        CellRequest(
            name=asked.name + (f".{re.sub(r'[^A-Za-z0-9._-]+', '_', spec.name)}" if many else ""),
            release=releases[spec.sha256],
            request=request,
        )
        for spec in cell.specs
    )
