"""``qpibench schema``."""

from __future__ import annotations

import json

import click

from qpibench.cli.answer import Answer
from qpibench.cli.options import subcommand


@subcommand("schema")
@click.argument("what", type=click.Choice(["result"]))
def command(*, what: str) -> Answer:
    """Print the JSON Schema of a result file.

    qpibench schema result > result.schema.json
    """
    from qpibench.evaluation.result import result_schema

    schema = result_schema()
    return Answer(text=json.dumps(schema, indent=2), fields=schema)
