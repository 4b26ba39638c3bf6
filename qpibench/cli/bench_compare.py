"""``qpibench bench compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qpibench.cli.options import FILE, subcommand
from qpibench.cli.response import Response
from qpibench.cli.table import aligned
from qpibench.cli.terminal import shortened
from qpibench.errors import RegressionError

if TYPE_CHECKING:
    from qpibench.throughput.compare import Pair
    from qpibench.throughput.history import Figure

HEAD = ("figure", "unit", "A", "B", "B / A", "")


@subcommand("compare")
@click.argument("first_path", type=FILE, metavar="A")
@click.argument("second_path", type=FILE, metavar="B")
def command(*, first_path: Path, second_path: Path) -> Response:
    """Compare the run B of the benchmarks with an earlier run A: ratios and, on the same machine, rates.

    A figure fell if its median is worse by more than the sum of both runs' quartile ranges, which the table shows in
    brackets. The exit code is then 5. Figures of fewer than five rounds are not judged.

    qpibench bench compare before.json after.json
    """
    from qpibench.throughput.compare import compare
    from qpibench.throughput.history import load_run

    comparison = compare(load_run(first_path), load_run(second_path))
    warnings = [f"{name} is measured in A alone." for name in comparison.only_first]
    warnings += [f"{name} is measured in B alone." for name in comparison.only_second]
    text = aligned([HEAD, *map(_row, comparison.pairs)])
    if not comparison.same_machine:
        text += "\n\nThe machines differ: only ratios are compared."
    fields = {
        "same_machine": comparison.same_machine,
        "figures": [_fields(pair) for pair in comparison.pairs],
        "only_first": list(comparison.only_first),
        "only_second": list(comparison.only_second),
    }
    try:
        comparison.require_no_fall()
    except RegressionError as error:
        return Response(text=text, fields=fields, warnings=warnings, error=str(error), exit_code=error.exit_code)
    return Response(text=text, fields=fields, warnings=warnings)


def _row(pair: Pair) -> list[str]:
    change = "" if pair.change is None else f"{pair.change:.3f}"
    return [
        shortened(pair.second.name),
        pair.second.unit,
        _shown(pair.first),
        _shown(pair.second),
        change,
        pair.verdict,
    ]


def _shown(figure: Figure) -> str:
    return f"{figure.value:.4g} [{figure.low:.4g}, {figure.high:.4g}]"


def _fields(pair: Pair) -> dict[str, Any]:
    return {
        "name": pair.second.name,
        "unit": pair.second.unit,
        "better": "higher" if pair.second.higher_is_better else "lower",
        "first": _values(pair.first),
        "second": _values(pair.second),
        "change": pair.change,
        "verdict": pair.verdict,
    }


def _values(figure: Figure) -> dict[str, Any]:
    return figure.model_dump(include={"value", "low", "high", "rounds"})
