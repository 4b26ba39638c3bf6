"""``qpibench new``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.options import OUTPUT_FILE, subcommand
from qpibench.cli.response import Response
from qpibench.errors import UsageError


@subcommand("new")
@click.argument("path", type=OUTPUT_FILE, metavar="MODEL.py")
def command(*, path: Path) -> Response:
    """Write a commented model to start from; it runs and follows the model contract.

    qpibench new my_model.py
    """
    from qpibench.evaluation.isolation.shadowing import is_library
    from qpibench.evaluation.model_template import TEMPLATE
    from qpibench.files import check_file, write_whole
    from qpibench.paths import text_of_path

    check_file(path, if_exists="choose another name")
    if is_library(path.stem):
        raise UsageError(f"'{path.name}' has the name of a library, which it would hide; choose another name.")
    name = text_of_path(path.name)
    write_whole(path, TEMPLATE.replace("{name}", name).encode(), what="Model")
    return Response(text=f"{path}\nTest it with: qpibench check {path}", fields={"path": str(path)})
