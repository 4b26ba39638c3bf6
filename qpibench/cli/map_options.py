"""Options and arguments of the commands for measured maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from qpibench.cli.options import FILE, Decorated, Output
from qpibench.errors import UsageError
from qpibench.files import check_file


def _file_of(what: str, *suffixes: str) -> Output:
    """Type of a file that a command writes, whose name ends as such files do or has no suffix."""

    def check(path: Path) -> None:
        check_file(path)
        if path.suffix.lower() not in ("", *suffixes):
            raise UsageError(f"{what}; '{path.name}' does not end in {' or '.join(suffixes)}.")

    return Output(check)


HDF5_FILE = _file_of("It is written as HDF5", ".h5", ".hdf5", ".nc")
"""Type of a file of maps or kernels that a command writes."""

CSV_FILE = _file_of("Positions are written as CSV", ".csv", ".txt")
"""Type of a file of positions that a command writes."""

map_argument = click.argument("map_path", type=FILE, metavar="MAP")


def _numbers(_: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(map(float, text.split(",")))
    except ValueError:
        raise click.BadParameter(f"'{text}' is no list of numbers with commas between them.", param=parameter) from None


def untold_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options for what a format does not tell; the command gets them as ``untold``, arguments of ``read_maps``."""

    @wraps(command)
    def packed(
        *, size_nm: float | None, layers_mev: tuple[float, ...] | None, first_row: str | None, **others: Any
    ) -> Any:
        return command(untold={"size_nm": size_nm, "energy_mev": layers_mev, "first_row": first_row}, **others)

    for option in (
        click.option(
            "--first-row",
            type=click.Choice(["bottom", "top"]),
            help="Where the first row of the file is, if it does not tell it.  [default: bottom]",
        ),
        click.option(
            "--energies",
            "layers_mev",
            callback=_numbers,
            metavar="MEV,...",
            help="Energies of all layers, or the first and the last of even steps, if the file does not tell them.",
        ),
        click.option(
            "--size",
            "size_nm",
            type=float,
            metavar="NM",
            help="Longer side of the maps in nm, if the file does not tell it.",
        ),
    ):
        packed = option(packed)
    return packed


channel_option = click.option(
    "--channel", metavar="NAME", help="Channel of the map; may be left out if there is only one."
)


def energies_option(help: str) -> Callable[[Decorated], Decorated]:
    """Return the option ``--energy``, which may be repeated."""
    return click.option("--energy", "energies_mev", type=float, multiple=True, metavar="MEV", help=help)


positions_option = click.option(
    "--positions", "positions_path", type=FILE, required=True, metavar="CSV", help="File of the scatterers, x and y."
)

origin_option = click.option(
    "--origin",
    type=click.Choice(["centre", "corner", "pixel"]),
    help="Where positions count from: the centre of the field, its first pixel in nm, or that pixel in pixels."
    "  [default: centre; pixel for columns named so]",
)

beyond_edge_option = click.option("--beyond-edge", is_flag=True, help="Positions outside the map are scatterers, too.")
