"""From results to standings: which numbers may be compared, and which of them differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from qpibench.errors import InvalidDataError
from qpibench.evaluation.result import (
    HIGHER_IS_BETTER,
    ORACLE,
    PRIMARY_METRIC,
    CellRecord,
    Interval,
    Result,
    TaskResult,
)
from qpibench.tasks.track import Track, load_track

_Member = tuple[str, Result, TaskResult]


@dataclass(frozen=True, kw_only=True)
class Table:
    """What two results must share for their numbers to be comparable.

    Attributes
    ----------
    cell
        The cell of a track; None for what stands on none.
    release_name, content_sha256
        The data.
    task
        How they were split.
    view, map_mode
        What the entry was shown, and how activation maps were rasterised.
    n_available, n_images
        Images of the task's test role, and how many of them were scored: fewer make a subset.
    """

    cell: CellRecord | None
    release_name: str
    content_sha256: str
    task: str
    view: str
    map_mode: str | None
    n_available: int
    n_images: int

    @property
    def order(self) -> tuple[object, ...]:
        """Key that puts tables in alphabetical order, and larger subsets first."""
        cell = () if self.cell is None else (self.cell.label, self.cell.track_sha256)
        shown = (self.view, self.map_mode or "", cell)
        return self.release_name, self.content_sha256, self.task, *shown, -self.n_images

    @property
    def primary(self) -> str:
        """The metric that ranks."""
        return PRIMARY_METRIC if self.cell is None else self.cell.primary

    @property
    def images(self) -> tuple[object, ...]:
        """Which images were scored."""
        return self.content_sha256, self.task, self.n_images

    @property
    def subset(self) -> bool:
        """Whether only a part of the cell was scored, or outside of tracks of the test role."""
        return self.n_images < self.n_whole

    @property
    def n_whole(self) -> int:
        """Images of the cell, or outside of tracks of the test role."""
        size = None if self.cell is None else self.cell.size
        return self.n_available if size is None else min(size, self.n_available)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An entry's place in a table.

    Attributes
    ----------
    rank
        Place of the best entry of the group; entries of a group share it. None for an oracle, and for what was
        not trained to the end.
    tied
        Whether the group has more than one entry.
    file
        Name of the result file.
    result
        What it holds.
    task
        Its part for the table's task.
    primary
        The score that ranks.
    subset
        Whether only a part of the table's images was scored.
    """

    rank: int | None
    tied: bool
    file: str
    result: Result
    task: TaskResult
    primary: Interval
    subset: bool

    @property
    def marks(self) -> tuple[str, ...]:
        """Reservations about the score.

        ``oracle``: it was shown the truth; ``subset``; ``failed``: the entry stopped; ``unanswered``: images are;
        ``partial``: it was trained for a part of the steps that its recipe states, see :attr:`trained_percent`.
        """
        failed = self.result.status == "failed"
        marks = {
            "oracle": _is_oracle(self.result),
            "subset": self.subset,
            "failed": failed,
            "unanswered": not failed and self.task.n_failed > 0,
            "partial": _is_partial(self.result),
        }
        return tuple(mark for mark, applies in marks.items() if applies)

    @property
    def trained_percent(self) -> int | None:
        """Share of the stated training steps that was done, rounded up, 100 for all only; None if untrained."""
        return _trained_percent(self.result)

    @property
    def seconds_per_image(self) -> float | None:
        """Wall-clock time of predicting the task, without import and fit, over its images; None if it is not known."""
        seconds = self.task.predict_seconds
        # An entry that stopped was asked fewer images than are scored.
        return None if seconds is None or self.result.failure else seconds / self.task.n_images


def standings(results: Mapping[str, Result]) -> dict[Table, tuple[Standing, ...]]:
    """Sort results into tables, one for each cell of a track, and rank them by the cell's primary metric.

    What stands on no track has tables by release, task and view, ranked by the capped mean of the relative L2 error.

    Entries whose intervals overlap that of the best of their group share its rank. That is a cautious reading of two
    intervals, no paired test: it never separates what is equal, and it may leave together what a paired test separates.

    Oracles take no rank. They were shown the truth, so no view limits them: each stands in every table of its images.
    Nor does an entry that was trained for a part of the steps that its recipe states: its score is not its method's.

    Parameters
    ----------
    results
        Results by the names of their files.

    Returns
    -------
    dict
        Tables in alphabetical order, larger subsets first, and the standings of each from the best on. The
        order of ``results`` has no influence.

    Raises
    ------
    InvalidDataError
        If two results of a table are of the same predictions.
    """
    tables: dict[Table, list[_Member]] = {}
    # Oracles last, when the tables of all others are known.
    for file, result in sorted(results.items(), key=lambda item: (_is_oracle(item[1]), item[0])):
        for name, task in result.tasks.items():
            own = _table(result, name, task)
            shared = [table for table in tables if table.images == own.images] if _is_oracle(result) else []
            for table in shared or [own]:
                _join(tables.setdefault(table, []), (file, result, task))
    return {table: _ranked(table, tables[table]) for table in sorted(tables, key=lambda table: table.order)}


@cache
def _published() -> Track:
    return load_track("paper")


def cell_without_track(result: Result, task: str) -> CellRecord | None:
    """The cell of the track `paper` that a result without a track stands for, such as all that are older than tracks.

    It must show the same maps in the same view of the same release as the cell; None if no cell does.
    """
    track = _published()
    for name, cell in track.cells.items():
        shown = (cell.task, cell.view, cell.map) == (task, result.view, result.map_mode)
        if shown and [spec.sha256 for spec in cell.specs] == [result.release.spec_sha256]:
            return CellRecord.of(track, name)
    return None


def _is_oracle(result: Result) -> bool:
    return ORACLE in result.model.knows


def _is_partial(result: Result) -> bool:
    percent = _trained_percent(result)
    return percent is not None and percent < 100


def _trained_percent(result: Result) -> int | None:
    training = result.model.training
    if training is None:
        return None
    return 100 if training.fraction == 1 else min(99, -(-100 * training.steps_done // training.steps_stated))


def _join(members: list[_Member], member: _Member) -> None:
    file, result, _ = member
    for other, earlier, _ in members:
        if earlier.predictions_sha256 == result.predictions_sha256:
            raise InvalidDataError(
                f"Result files '{other}' and '{file}' are of the same predictions (SHA-256"
                f" {result.predictions_sha256[:12]}); remove one of them."
            )
    members.append(member)


def _table(result: Result, name: str, task: TaskResult) -> Table:
    return Table(
        cell=result.cell or cell_without_track(result, name),
        release_name=result.release.name,
        content_sha256=result.release.content_sha256,
        task=name,
        view=result.view,
        map_mode=result.map_mode,
        n_available=task.n_available,
        n_images=task.n_images,
    )


def _ranked(table: Table, members: Sequence[_Member]) -> tuple[Standing, ...]:
    scores: dict[str, Interval] = {file: getattr(task.metrics, table.primary) for file, _, task in members}
    sign = -1 if table.primary in HIGHER_IS_BETTER else 1
    ordered = sorted(members, key=lambda member: (sign * scores[member[0]].value, member[1].model.name, member[0]))
    groups: list[list[str]] = []
    worst = -math.inf  # the end of the best's interval, smaller being better
    for file, result, _ in ordered:
        if _is_oracle(result) or _is_partial(result):
            continue
        low, high = sorted((sign * scores[file].low, sign * scores[file].high))
        if low <= worst:
            groups[-1].append(file)
        else:
            groups.append([file])
            worst = high
    places: dict[str, tuple[int, bool]] = {}
    for group in groups:
        places |= dict.fromkeys(group, (len(places) + 1, len(group) > 1))
    ranked = []
    for file, result, task in ordered:
        rank, tied = places.get(file, (None, False))
        ranked.append(
            Standing(
                rank=rank,
                tied=tied,
                file=file,
                result=result,
                task=task,
                primary=scores[file],
                subset=table.subset,
            )
        )
    return tuple(ranked)
