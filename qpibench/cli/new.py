"""``qpibench new``."""

from __future__ import annotations

from pathlib import Path

import click

from qpibench.cli.answer import Answer
from qpibench.cli.options import FILE, subcommand, writable
from qpibench.errors import UsageError


@subcommand("new")
@click.argument("path", type=FILE, callback=writable, metavar="MODEL.py")
def command(*, path: Path) -> Answer:
    """Write a commented model to start from; it runs and follows the model contract.

    qpibench new my_model.py
    """
    from qpibench.evaluation.model_template import TEMPLATE
    from qpibench.pages.whole_file import write_whole

    if path.exists():
        raise UsageError(f"'{path}' exists already; choose another name.")
    write_whole(path, TEMPLATE.replace("{name}", path.name).encode(), what="Model")
    return Answer(text=f"{path}\nTest it with: qpibench check {path}", fields={"path": str(path)})
