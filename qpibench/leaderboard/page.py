"""Renders the standings as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

from qpibench.evaluation.metrics import all_metrics, on_board
from qpibench.evaluation.result import Interval
from qpibench.evaluation.track_figures import TrackFigure
from qpibench.leaderboard.comparisons import Pair
from qpibench.leaderboard.details import numbers_of_images, scores_of_families
from qpibench.leaderboard.literature import REPORTED, SOURCE, SOURCE_URL
from qpibench.leaderboard.overview import overview
from qpibench.leaderboard.pictures import median_of, picture_name
from qpibench.leaderboard.standings import Standing, Table, track_titles
from qpibench.pages.environment import page_environment
from qpibench.pages.notation import decade, interval, number, whole

MEANINGS = {
    "subset": "Fewer images were scored than the cell has or, outside of tracks, the task.",
    "missing": "Some images have no finite prediction. They count in every score with the worse of the error of"
    " zeros and of the entry's own worst image.",
    "failed": "The entry stopped before it had predicted every image. It takes no rank.",
    "partial": "The entry was trained for this share of the steps that its recipe states. It takes no rank, because the"
    " score is that of the run and not of the method. It is left out of a table that has a run of its method trained"
    " to the end.",
    "unfinished": "The evaluation was interrupted, so cells of its suite or track are missing; --resume completes it.",
    "oracle": "It was shown the truth, to set a scale. It takes no rank, and stands in every table of its images,"
    " whatever their view.",
}
"""The marks of standings, in sentences."""


def render_page(
    tables: Mapping[Table, Sequence[Standing]], figures: Sequence[TrackFigure] = (), pairs: Sequence[Pair] = ()
) -> str:
    """Return the HTML of the leaderboard.

    It has a table of results and tracks, figures, the tables of standings, tables of paired comparisons, and a table of
    the literature's numbers.
    """
    by_place = _by_place(pairs)
    environment = page_environment("qpibench.leaderboard")
    environment.filters |= {"number": number, "interval": interval, "whole": whole, "quote": quote}
    return environment.get_template("leaderboard.html.j2").render(
        tables=[
            (table, members, _scale(table, members), _columns(table, members)) for table, members in tables.items()
        ],
        overview=overview(tables),
        titles=track_titles(tables),
        table_numbers={table: number for number, table in enumerate(tables, start=1)},
        figures=figures,
        pairs=by_place,
        number_of={place: number for number, place in enumerate(by_place, start=1)},
        levels_of_pairs=lambda members: _percentages(pair.level for pair in members),
        levels=_levels,
        meanings=MEANINGS,
        picture_name=picture_name,
        median_of=median_of,
        floor_of=_floor_of,
        scores_of_families=scores_of_families,
        numbers_of_images=numbers_of_images,
        metrics=all_metrics(),
        reported=REPORTED,
        source=SOURCE,
        source_url=SOURCE_URL,
    )


def _floor_of(standing: Standing, metric: str) -> Interval | None:
    floor = standing.cell.floor
    return None if floor is None else floor.metrics.get(metric)


def _columns(table: Table, members: Sequence[Standing]) -> dict[str, str]:
    """Return the shown metrics, the ranking one first, and the headings of their columns."""
    known = all_metrics()
    scored = on_board(name for member in members for name in member.cell.metrics)
    shown = [name for name in scored if name != table.primary]
    return {name: known[name].head for name in (table.primary, *shown)}


def _scale(table: Table, members: Sequence[Standing]) -> LogScale | LinearScale:
    floors = (_floor_of(member, table.primary) for member in members)
    scores = [*(member.primary for member in members), *(floor for floor in floors if floor is not None)]
    low, high = all_metrics()[table.primary].bounds
    return LogScale.around(scores) if (low, high) == (0.0, 1.0) else LinearScale.around(scores)


def _levels(members: Sequence[Standing]) -> str:
    return _percentages(member.result.intervals.level for member in members)


def _percentages(levels: Iterable[float]) -> str:
    return ", ".join(f"{100 * level:g} %" for level in sorted(set(levels)))


def _by_place(pairs: Sequence[Pair]) -> dict[tuple[str, str], list[Pair]]:
    """Pairs by place and metric, in their order."""
    found: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        found.setdefault((pair.place, pair.metric), []).append(pair)
    return found


@dataclass(frozen=True)
class LogScale:
    """A logarithmic axis of whole decades that ends at 1, the ranking score of zeros.

    Attributes
    ----------
    decades
        Number of decades; the axis begins at 10 to the power of minus this number.
    """

    decades: int

    @classmethod
    def around(cls, scores: Sequence[Interval]) -> Self:
        """Return the shortest axis that contains every positive value."""
        smallest = min((score.value for score in scores if score.value > 0), default=1.0)
        return cls(max(1, math.ceil(-math.log10(smallest))))

    def percent(self, value: float) -> float:
        """Place of a value between the left end, 0, and the right, 100; what lies outside is put at the end."""
        if value <= 0:
            return 0.0
        return round(100 * min(1.0, max(0.0, 1 + math.log10(value) / self.decades)), 2)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Positions of both ends and of the decades between them."""
        return tuple(self.percent(10.0**power) for power in range(-self.decades, 1))

    @property
    def labels(self) -> tuple[tuple[float, str], ...]:
        """Positions and labels of the ticks: the right end and at most three more."""
        step = math.ceil(self.decades / 3)
        return tuple((self.percent(10.0**-power), decade(-power)) for power in range(0, self.decades + 1, step))


@dataclass(frozen=True)
class LinearScale:
    """A linear axis between two round ends, for scores of any range.

    Attributes
    ----------
    low, high, step
        Both ends, and the distance between ticks.
    """

    low: float
    high: float
    step: float

    @classmethod
    def around(cls, scores: Sequence[Interval]) -> Self:
        """Return the shortest axis that contains every interval and has one to four ticks at round distances."""
        low, high = min(score.low for score in scores), max(score.high for score in scores)
        least = (high - low) / 3 or abs(high) or 1.0
        power = 10.0 ** math.floor(math.log10(least))
        step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= least * (1 - 1e-9))
        start, stop = math.floor(low / step), math.ceil(high / step)
        return cls(start * step, max(stop, start + 1) * step, step)

    def percent(self, value: float) -> float:
        """Place of a value between the left end, 0, and the right, 100; what lies outside is put at the end."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Positions of both ends and of the steps between them."""
        return tuple(place for place, _ in self.labels)

    @property
    def labels(self) -> tuple[tuple[float, str], ...]:
        """Positions and labels of the ticks."""
        count = round((self.high - self.low) / self.step)
        values = (self.low + place * self.step for place in range(count + 1))
        return tuple((self.percent(value), f"{value:.6g}".replace("-", "\N{MINUS SIGN}")) for value in values)
