"""``qpibench tracks``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qpibench.cli.options import subcommand
from qpibench.cli.response import Response
from qpibench.cli.table import aligned
from qpibench.cli.terminal import NAME_WIDTH, shortened

if TYPE_CHECKING:
    from qpibench.tasks.suite import Suite
    from qpibench.tasks.track import Cell


@subcommand("tracks")
@click.argument("names", nargs=-1, metavar="[TRACK]...")
def command(*, names: tuple[str, ...]) -> Response:
    """List tracks with their cells, and suites: all of the package, or each TRACK, a name or a TOML file.

    qpibench tracks
    qpibench tracks my_track.toml
    """
    from qpibench.tasks.suite import load_suite, suite_names
    from qpibench.tasks.track import load_track, track_names

    tracks = [load_track(name) for name in names or track_names()]
    texts = []
    for track in tracks:
        rows = [["", "specs", "task", "view", "map", "ranked by", "images"]]
        rows += [
            [shortened(f"{track.name}/{name}"), *_row(cell, f"{track.name}-{name}-")]
            for name, cell in track.cells.items()
        ]
        texts.append(f"{shortened(track.name)}: {shortened(track.summary, 4 * NAME_WIDTH)}\n{aligned(rows)}")
    suites = [] if names else [load_suite(name) for name in suite_names()]
    if suites:
        rows = [["suite", "cells", "images", "", ""]]
        rows += [_suite_row(suite) for suite in suites]
        texts.append(aligned(rows))
    return Response(
        text="\n\n".join(texts),
        fields={
            "tracks": [
                {
                    "name": track.name,
                    "sha256": track.sha256,
                    "summary": track.summary,
                    "cells": {name: _fields(cell) for name, cell in track.cells.items()},
                }
                for track in tracks
            ],
            "suites": [
                {
                    "name": suite.name,
                    "sha256": suite.sha256,
                    "summary": suite.summary,
                    "limit": suite.limit,
                    "cells": [each.label for each in suite.cells],
                }
                for suite in suites
            ],
        },
    )


def _suite_row(suite: Suite) -> list[str]:
    images = "all" if suite.limit is None else f"at most {suite.limit:,} of a release"
    return [shortened(suite.name), f"{len(suite.cells)}", images, suite.sha256[:8], shortened(suite.summary, 80)]


def _row(cell: Cell, release: str) -> list[str]:
    # The names of a cell's own releases begin with those of track and cell, which the row has already.
    specs = ", ".join(shortened(spec.name.removeprefix(release)) for spec in cell.specs)
    return [
        specs,
        cell.task,
        cell.view,
        cell.map or "-",
        shortened(cell.primary),
        "all" if cell.image_count is None else f"{cell.image_count:,}",
    ]


def _fields(cell: Cell) -> dict[str, Any]:
    specs = [{"name": spec.name, "sha256": spec.sha256} for spec in cell.specs]
    return {"specs": specs, **cell.model_dump(mode="json", exclude={"specs"})}
