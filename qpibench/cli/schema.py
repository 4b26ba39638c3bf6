"""``qpibench schema``."""

from __future__ import annotations

import json

import click

from qpibench.cli.options import subcommand
from qpibench.cli.response import Response


@subcommand("schema")
@click.argument("what", type=click.Choice(["result", "comparison", "run", "spec"]))
def command(*, what: str) -> Response:
    """Print the JSON Schema of a file: a result, what compare prints with --json, a run folder's run.json, or a spec.

    qpibench schema result > result.schema.json
    qpibench schema spec > spec.schema.json
    """
    from qpibench.evaluation.paired import comparison_schema
    from qpibench.evaluation.result_schema import result_schema
    from qpibench.evaluation.run_record import run_schema
    from qpibench.specs.schema import spec_schema

    schema = {"result": result_schema, "comparison": comparison_schema, "run": run_schema, "spec": spec_schema}[what]()
    return Response(text=json.dumps(schema, indent=2), fields=schema)
