"""``qpibench prepare``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from qpibench.cli.map_options import HDF5_FILE, untold_options
from qpibench.cli.maps import described
from qpibench.cli.options import FILE, OUTPUT_FILE, check_new, keep_apart, output_option, overwrite_option, subcommand
from qpibench.cli.response import Response
from qpibench.errors import UsageError


@subcommand("prepare")
@click.argument("file", type=FILE)
@click.option(
    "--step",
    "steps",
    multiple=True,
    metavar='"NAME KEY=VALUE ..."',
    help="A step with its settings; may be repeated, and the steps are made in this order.",
)
@click.option("--undo", "original", type=FILE, metavar="ORIGINAL", help="Take the last step back, from this file.")
@output_option("MAPS.h5", "The prepared maps.", type=HDF5_FILE)
@click.option("--picture", type=OUTPUT_FILE, metavar="PICTURE.png", help="Also draw the maps before and after.")
@click.option(
    "--channel",
    metavar="NAME",
    help="Draw this channel; where a file has channels of several sizes, read those that fit it.",
)
@untold_options
@overwrite_option
def command(
    *,
    file: Path,
    steps: tuple[str, ...],
    original: Path | None,
    output: Path,
    picture: Path | None,
    channel: str | None,
    untold: dict[str, Any],
    overwrite: bool,
) -> Response:
    """Prepare the maps of FILE for extraction: level, remove streaks and the lattice, mask, crop, derive.

      qpibench prepare scan.sxm --step "plane order=1" --step streaks -o scan.h5 --picture steps.png
      qpibench prepare grid.3ds --step 'derivative channels=["Current"]' -o didv.h5
      qpibench prepare scan.h5 --undo scan.sxm -o scan.h5 --overwrite

    The file of maps records every step with its settings and the SHA-256 of the original file. A value is written as
    in TOML; a text needs no quotes. The steps are described in docs/preparation.md.
    """
    from qpibench.maps.file import write_maps
    from qpibench.maps.picture import draw_steps
    from qpibench.maps.preparation import apply, step_names, undone
    from qpibench.readers.maps import read_maps

    if bool(steps) == (original is not None):
        raise UsageError(f"Give a --step or several, or --undo; the steps are {', '.join(step_names())}.")
    asked = [_step(text) for text in steps]
    check_new([output, picture], overwrite=overwrite)
    before = read_maps(file, channel=channel, **(untold if original is None else {}))
    after = before
    if original is not None:
        after = undone(before, read_maps(original, channel=channel, **untold))
    # Maps with steps are made anew from the measurement, which is therefore never written over.
    keep_apart([output, picture], [path for path in (None if before.steps else file, original) if path is not None])
    for name, settings in asked:
        after = apply(after, name, **settings)
    if picture is not None:
        draw_steps(before, after, picture, channel=channel)
    write_maps(after, output)
    made = ", ".join(step.name for step in after.steps) or "no step"
    return Response(
        text=f"{output}: {after.source.file} after {made}",
        fields={"path": str(output), **described(after)},
        warnings=after.warnings,
    )


_WORD = re.compile(r"""(?:\[[^=]*\]|[^\s"']|"[^"]*"|'[^']*'|["'])+""")
"""What stands between blanks that are not in quotes or brackets."""


def _step(text: str) -> tuple[str, dict[str, Any]]:
    """Name and settings of a step from ``"NAME KEY=VALUE ..."``."""
    from qpibench.parsing import toml_value

    words = _WORD.findall(text)
    if not words:
        raise UsageError("--step needs the name of a step.")
    settings: dict[str, Any] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise UsageError(f"Step '{words[0]}': '{word}' is no setting; write KEY=VALUE.")
        settings[key] = toml_value(value)
    return words[0], settings
