"""The standings as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

from qpibench.evaluation.result import Interval
from qpibench.leaderboard.literature import REPORTED, SOURCE, SOURCE_URL
from qpibench.leaderboard.standings import Standing, Table
from qpibench.pages.environment import page_environment
from qpibench.pages.notation import decade, interval, number, whole

COLUMNS = {
    "rel_l2_capped": "relative L2, capped",
    "rel_l2_median": "median rel. L2",
    "failure_rate": "failure rate",
    "mae": "MAE",
    "mae_published": "MAE, published",
    "rmse_published": "RMSE, published",
    "ssim": "SSIM",
    "psnr": "PSNR (dB)",
}
"""The metrics that are shown, the ranking one first, and the heads of their columns."""


def render_page(tables: Mapping[Table, Sequence[Standing]]) -> str:
    """HTML of the leaderboard: the tables of standings, then the literature's numbers in a table of their own."""
    environment = page_environment("qpibench.leaderboard")
    environment.filters |= {"number": number, "interval": interval, "whole": whole, "quote": quote}
    return environment.get_template("leaderboard.html.j2").render(
        tables=[(table, members, LogScale.around([m.primary for m in members])) for table, members in tables.items()],
        levels=_levels,
        columns=COLUMNS,
        reported=REPORTED,
        source=SOURCE,
        source_url=SOURCE_URL,
    )


def _levels(members: Sequence[Standing]) -> str:
    return ", ".join(f"{100 * level:g} %" for level in sorted({m.result.intervals.level for m in members}))


@dataclass(frozen=True)
class LogScale:
    """A logarithmic axis of whole decades that ends at 1, where the ranking score of zeros lies.

    Attributes
    ----------
    decades
        How many of them; the axis begins at 10 to the power of minus this.
    """

    decades: int

    @classmethod
    def around(cls, scores: Sequence[Interval]) -> Self:
        """The shortest axis on which every positive value has a place."""
        smallest = min((score.value for score in scores if score.value > 0), default=1.0)
        return cls(max(1, math.ceil(-math.log10(smallest))))

    def percent(self, value: float) -> float:
        """Place of a value between the left end, 0, and the right, 100; what lies outside is put at the end."""
        if value <= 0:
            return 0.0
        return round(100 * min(1.0, max(0.0, 1 + math.log10(value) / self.decades)), 2)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Places of both ends and of the decades between them."""
        return tuple(self.percent(10.0**power) for power in range(-self.decades, 1))

    @property
    def labels(self) -> tuple[tuple[float, str], ...]:
        """Places and texts of the labelled ticks: the right end, and at most three more."""
        step = math.ceil(self.decades / 3)
        return tuple((self.percent(10.0**-power), decade(-power)) for power in range(0, self.decades + 1, step))
