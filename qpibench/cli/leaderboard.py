"""``qpibench leaderboard``, a group of commands."""

from __future__ import annotations

from qpibench.cli.lazy import LazyGroup

SUMMARIES = {
    "build": "Make the leaderboard page from result files.",
    "check": "Check a result file, and derive it again from its predictions.",
}


HELP = """Build a leaderboard, or check one of its results.

  qpibench leaderboard build results -o site
  qpibench leaderboard check result.json
"""

command = LazyGroup("leaderboard", modules="qpibench.cli.leaderboard_", summaries=SUMMARIES, help=HELP)
