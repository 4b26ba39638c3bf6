"""Run campaigns: ``python -m benchmarks.campaigns [NAME ...] --seed S --count N``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.campaigns.campaign import NAMES, load, run
from qpibench.errors import QpibenchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run campaigns and return 1 if a case ended as none may."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all by default")
    parser.add_argument("--seed", type=int, default=0, help="decides every trial; 0 by default")
    parser.add_argument("--count", type=int, metavar="N", help="trials; by default as many as docs/reliability.md says")
    parser.add_argument("-o", "--output", type=Path, default=Path("campaigns"), metavar="DIR", help="figures, as JSON")
    asked = parser.parse_args(arguments)
    asked.output.mkdir(parents=True, exist_ok=True)
    failed = False
    try:
        for name in asked.names or NAMES:
            count = asked.count or load(name).TRIALS
            output = asked.output / f"{name}-{asked.seed}.json"
            tally = run(name, asked.seed, count, output, lambda text: print(text, file=sys.stderr))
            print(f"{name}: {tally.cases} cases, {len(tally.problems)} problems; {output}")
            failed |= bool(tally.problems)
    except QpibenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
