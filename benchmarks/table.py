"""Figures as the Markdown table of the README: ``python -m benchmarks.table [FILE]``, by default the newest run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, figures_of
from benchmarks.machine import sentence

HEADS = (
    "| what | measured | target | | command |\n|---|---|---|---|---|",
    "| measured beside them | | command |\n|---|---|---|",
)


def markdown(run: dict[str, Any]) -> str:
    """Two tables of a run, from pytest-benchmark's JSON: figures with a target, and the others; then the machine."""
    tables: tuple[list[str], list[str]] = ([HEADS[0]], [HEADS[1]])
    for benchmark in run["benchmarks"]:
        for figure in figures_of(benchmark):
            tables[figure.is_met is None].append(row(figure, benchmark["name"]))
    blocks = ["\n".join(table) for table in tables if len(table) > 1]
    return "\n\n".join([*blocks, f"Measured on {sentence(run['machine_info'])}"])


def row(figure: Figure, benchmark: str) -> str:
    """One figure: its median, its quartiles if there were several rounds, and its target if it has one."""
    cells = [figure.what, quantity(figure.value, figure.unit)]
    if figure.rounds > 1:
        cells[1] += f" ({number(figure.low)} to {number(figure.high)})"
    if figure.is_met is not None:
        word, limit = ("at least", figure.at_least) if figure.at_most is None else ("at most", figure.at_most)
        cells += [f"{word} {quantity(limit, figure.unit)}", "met" if figure.is_met else "**missed**"]
    test = benchmark.removeprefix("test_").partition("[")[0]
    return f"| {' | '.join(cells)} | `python -m benchmarks -k {test}` |"


def quantity(value: float, unit: str) -> str:
    """A number with its unit."""
    return f"{number(value)} {unit}".rstrip()


def number(value: float) -> str:
    """Three digits, without an exponent where that can be read."""
    return f"{value:,.3g}" if value == 0 or not 0.001 <= abs(value) < 1e4 else f"{value:,.{places(value)}f}"


def places(value: float) -> int:
    """Decimals that show three digits."""
    return sum(abs(value) < limit for limit in (0.01, 0.1, 1, 10, 100))


def main() -> None:
    """Print the table of a file."""
    history = Path(__file__).parent / "history"
    newest = sorted(history.glob("*.json"), key=lambda path: path.stat().st_mtime)[-1:]
    for path in map(Path, sys.argv[1:] or newest):
        print(markdown(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
