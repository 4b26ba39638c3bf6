"""``qpibench bench``, a group of commands."""

from __future__ import annotations

from qpibench.cli.lazy import LazyGroup

SUMMARIES = {
    "report": "Draw the history of the benchmarks as a page.",
    "compare": "Say whether a run of the benchmarks is slower than another.",
}


HELP = """Look at what the benchmarks measured; 'make bench' in a checkout runs them.

  qpibench bench report benchmarks/history -o site
  qpibench bench compare before.json after.json
"""

command = LazyGroup("bench", modules="qpibench.cli.bench_", summaries=SUMMARIES, help=HELP)
