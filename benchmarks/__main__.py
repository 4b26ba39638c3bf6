"""Run the benchmarks, keep what they measured, and print it as a table: ``python -m benchmarks [PYTEST OPTIONS]``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import table
from benchmarks.machine import machine, slug

FOLDER = Path(__file__).parent
HISTORY = FOLDER / "history"


def main() -> int:
    """Run; the exit code is pytest's, and a target that is missed is no failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to keep the figures; a file of this machine and hour in benchmarks/history/ if all are measured,"
        " else nowhere",
    )
    arguments, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / "figures.json"
        plugin = ["--benchmark-only", "--benchmark-quiet", f"--benchmark-json={measured}"]
        code = pytest.main([str(FOLDER), "-v", "--no-header", "-p", "no:cacheprovider", *plugin, *options])
        if not measured.exists() or not measured.stat().st_size:
            return int(code)
        run = json.loads(measured.read_text())
    output = arguments.output
    if output is None and not options and code == 0:
        output = HISTORY / f"{slug(machine())}-{datetime.now(UTC):%Y%m%dT%H%MZ}.json"
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(run, indent=1) + "\n")
        print(f"\n{output}")
    print(f"\n{table.markdown(run)}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
