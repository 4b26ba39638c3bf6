"""``qpibench tracks``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qpibench.cli.options import subcommand
from qpibench.cli.response import Response
from qpibench.cli.table import aligned
from qpibench.cli.terminal import NAME_WIDTH, shortened

if TYPE_CHECKING:
    from qpibench.tasks.track import Cell


@subcommand("tracks")
@click.argument("names", nargs=-1, metavar="[TRACK]...")
def command(*, names: tuple[str, ...]) -> Response:
    """List tracks and their cells: all tracks of the package, or each TRACK, a name or a TOML file.

    qpibench tracks
    qpibench tracks my_track.toml
    """
    from qpibench.tasks.track import load_track, track_names

    tracks = [load_track(name) for name in names or track_names()]
    texts = []
    for track in tracks:
        rows = [["", "specs", "task", "view", "map", "ranked by", "images"]]
        rows += [[shortened(f"{track.name}/{name}"), *_row(cell)] for name, cell in track.cells.items()]
        texts.append(f"{shortened(track.name)}: {shortened(track.summary, 4 * NAME_WIDTH)}\n{aligned(rows)}")
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
            ]
        },
    )


def _row(cell: Cell) -> list[str]:
    specs = ", ".join(shortened(spec.name) for spec in cell.specs)
    return [
        specs,
        cell.task,
        cell.view,
        cell.map or "-",
        shortened(cell.primary),
        "all" if cell.size is None else f"{cell.size:,}",
    ]


def _fields(cell: Cell) -> dict[str, Any]:
    specs = [{"name": spec.name, "sha256": spec.sha256} for spec in cell.specs]
    return {"specs": specs, **cell.model_dump(mode="json", exclude={"specs"})}
