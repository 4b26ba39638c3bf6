"""Details of a table: scores of each family of kernels, and numbers that describe the images."""

from __future__ import annotations

from collections.abc import Sequence

from qpibench.evaluation.joining import family_scores
from qpibench.evaluation.metrics import all_metrics, in_order
from qpibench.evaluation.result import Interval
from qpibench.leaderboard.standings import Standing


def scores_of_families(standing: Standing, metric: str) -> dict[str, Interval]:
    """Return a score of each family of kernels, by its name; empty for a cell of one family."""
    if len(standing.cell.families) < 2:
        return {}
    found = family_scores(standing.cell.parts)
    return {family: scores[metric] for family, scores in found.items() if metric in scores}


def numbers_of_images(members: Sequence[Standing]) -> dict[str, Interval]:
    """Return the metrics that describe the images of a table, by name: they are the same for every entry.

    Such a metric is known from the first entry that has it; the residual of the truth stands only beside that of an
    entry that predicts ``kernel_full``.
    """
    known = all_metrics()
    found: dict[str, Interval] = {}
    for cell in (standing.cell for standing in members):
        for name, score in cell.metrics.items():
            if name in known and known[name].is_of_images:
                found.setdefault(name, score)
    return {name: found[name] for name in in_order(found)}
