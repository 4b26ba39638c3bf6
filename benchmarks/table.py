"""Print figures as the Markdown tables of docs/performance.md: ``python -m benchmarks.table [FILE]``; by default the
newest run."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.machine import sentence
from qpibench.throughput.history import Figure, Run, Wanted, load_run

HEADS = (
    "| what | measured | target | | command |\n|---|---|---|---|---|",
    "| measured beside them | | command |\n|---|---|---|",
)


def markdown(run: Run) -> str:
    """Return two tables of a run, figures with a target (measured or not) and the others, then the machine."""
    tables: tuple[list[str], list[str]] = ([HEADS[0]], [HEADS[1]])
    for figure in run.figures.values():
        tables[figure.is_met is None].append(row(figure, run.benchmark[figure.name]))
    for wanted in run.not_measured:
        if target(wanted):
            command = f"`python -m benchmarks -k {option(wanted.benchmark)}`"
            tables[0].append(f"| {wanted.what} | | {target(wanted)} | not measured: {wanted.reason} | {command} |")
    blocks = ["\n".join(table) for table in tables if len(table) > 1]
    return "\n\n".join([*blocks, f"Measured on {sentence(run.machine)}"])


def row(figure: Figure, benchmark: str) -> str:
    """Return one figure's median, its quartiles if there were several rounds, and its target if it has one."""
    cells = [figure.what, quantity(figure.value, figure.unit)]
    if figure.rounds > 1:
        cells[1] += f" ({number(figure.low)} to {number(figure.high)})"
    if figure.is_met is not None:
        cells += [target(figure), "met" if figure.is_met else "**missed**"]
    return f"| {' | '.join(cells)} | `python -m benchmarks -k {option(benchmark)}` |"


def target(wanted: Wanted) -> str:
    """Return the target as text; empty if there is none."""
    for word, limit in (("at least", wanted.at_least), ("at most", wanted.at_most)):
        if limit is not None:
            return f"{word} {quantity(limit, wanted.unit)}"
    return ""


def option(benchmark: str) -> str:
    """Return the benchmark's name as pytest's ``-k`` selects it."""
    return benchmark.removeprefix("test_").partition("[")[0]


def quantity(value: float, unit: str) -> str:
    """Return a number with its unit."""
    return f"{number(value)} {unit}".rstrip()


def number(value: float) -> str:
    """Return a number with three digits, without an exponent where that stays short."""
    rounded = float(f"{value:.3g}")
    if rounded == 0 or 0.001 <= abs(rounded) < 1e7:
        return f"{rounded:,.{places(rounded)}f}" if rounded else "0"
    return f"{rounded:.2e}"


def places(value: float) -> int:
    """Return the number of decimals that show three digits."""
    return sum(abs(value) < limit for limit in (0.01, 0.1, 1, 10, 100))


def main() -> None:
    """Print the tables of the named files, or of the newest run."""
    runs = [load_run(path) for path in map(Path, sys.argv[1:] or (Path(__file__).parent / "history").glob("*.json"))]
    for run in runs if sys.argv[1:] else [max(runs, key=lambda run: run.measured)]:
        print(markdown(run))


if __name__ == "__main__":
    main()
