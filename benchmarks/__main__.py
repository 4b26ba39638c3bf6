"""Run the benchmarks, store their figures and print them as a table: ``python -m benchmarks [PYTEST OPTIONS]``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import table
from benchmarks.machine import machine, slug
from qpibench.errors import InvalidDataError
from qpibench.throughput.history import load_run

FOLDER = Path(__file__).parent
HISTORY = FOLDER / "history"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks and return pytest's exit code; a missed target is no failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to keep the figures; a file of this machine and hour in benchmarks/history/ if all are measured,"
        " else nowhere; written again after every benchmark",
    )
    parser.add_argument("--beside", type=Path, metavar="FILE", help="JSON object that is kept beside the figures")
    chosen, options = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / "figures.json"
        kept = [f"--{name}={path}" for name, path in (("keep", chosen.output), ("beside", chosen.beside)) if path]
        code = run(measured, [*kept, *options])
        if not measured.exists() or not measured.stat().st_size:  # nothing was selected
            return code
        try:
            content, tables = measured.read_text(encoding="utf-8"), table.markdown(load_run(measured))
        except InvalidDataError as error:
            print(f"Error: nothing is kept of this run: {error}", file=sys.stderr)
            return code or error.exit_code
    output = chosen.output
    if output is None and not options and code == 0:
        output = new_file()
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(json.loads(content), indent=1) + "\n", encoding="utf-8")
        print(f"\n{output}")
    print(f"\n{tables}")
    return code


def run(measured: Path, options: Sequence[str]) -> int:
    """Run pytest on the benchmarks; pytest-benchmark writes their figures to the file `measured`."""
    plugin = ["--benchmark-only", "--benchmark-quiet", f"--benchmark-json={measured}"]
    return int(pytest.main([str(FOLDER), "-v", "--no-header", "-p", "no:cacheprovider", *plugin, *options]))


def new_file() -> Path:
    """Return the path of a new history file, named after this machine and the time."""
    return HISTORY / f"{slug(machine())}-{datetime.now(UTC):%Y%m%dT%H%MZ}.json"


if __name__ == "__main__":
    sys.exit(main())
