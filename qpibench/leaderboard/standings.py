"""From results to standings: which numbers may be compared, and which of them differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qpibench.errors import InvalidDataError
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.result import ORACLE, CellRecord, CellResult, Interval, Result

_Member = tuple[str, Result, CellResult]


@dataclass(frozen=True, kw_only=True)
class TablePart:
    """One release of a table.

    Attributes
    ----------
    release_name, content_sha256
        The data.
    n_available, n_images
        Images of the task's test role, and how many of them were scored: fewer make a subset.
    """

    release_name: str
    content_sha256: str
    n_available: int
    n_images: int


@dataclass(frozen=True, kw_only=True)
class Table:
    """What two results must share for their numbers to be comparable.

    Attributes
    ----------
    cell
        The cell of a track; None for what stands on none.
    parts
        The data.
    task
        How they were split.
    view, map_mode
        What the entry was shown, and how activation maps were rasterised.
    primary
        The metric that ranks.
    """

    cell: CellRecord | None
    parts: tuple[TablePart, ...]
    task: str
    view: str
    map_mode: str | None
    primary: str

    @property
    def order(self) -> tuple[object, ...]:
        """Key that puts tables in alphabetical order, and larger subsets first."""
        cell = () if self.cell is None else (self.cell.label, self.cell.track_sha256)
        shown = (self.view, self.map_mode or "", cell)
        return self.releases, self.task, *shown, tuple(-part.n_images for part in self.parts)

    @property
    def releases(self) -> tuple[tuple[str, str], ...]:
        """Names and hashes of the data."""
        return tuple((part.release_name, part.content_sha256) for part in self.parts)

    @property
    def release_names(self) -> str:
        """The data in words."""
        return ", ".join(part.release_name for part in self.parts)

    @property
    def images(self) -> tuple[object, ...]:
        """Which images were scored."""
        return tuple((part.content_sha256, part.n_images) for part in self.parts), self.task

    @property
    def n_images(self) -> int:
        """Images that were scored."""
        return sum(part.n_images for part in self.parts)

    @property
    def n_available(self) -> int:
        """Images of the test roles."""
        return sum(part.n_available for part in self.parts)

    @property
    def subset(self) -> bool:
        """Whether only a part of the cell was scored, or outside of tracks of the test role."""
        return self.n_images < self.n_whole

    @property
    def n_whole(self) -> int:
        """Images of the cell, or outside of tracks of the test role."""
        size = None if self.cell is None else self.cell.size
        return sum(part.n_available if size is None else min(size, part.n_available) for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An entry's place in a table.

    Attributes
    ----------
    rank
        Place of the best entry of the group; entries of a group share it. None for an oracle, for an entry that was
        not trained to the end, and for an entry that stopped.
    tied
        Whether the group has more than one entry.
    file
        Name of the result file.
    result
        What it holds.
    cell
        Its part for the table.
    primary
        The score that ranks.
    subset
        Whether only a part of the table's images was scored.
    """

    rank: int | None
    tied: bool
    file: str
    result: Result
    cell: CellResult
    primary: Interval
    subset: bool

    @property
    def marks(self) -> tuple[str, ...]:
        """Reservations about the score.

        ``oracle``: it was shown the truth; ``subset``; ``failed``: the entry stopped; ``unanswered``: images are;
        ``partial``: it was trained for a part of the steps that its recipe states, see :attr:`trained_percent`.
        """
        failed = self.cell.failed
        marks = {
            "oracle": _is_oracle(self.result),
            "subset": self.subset,
            "failed": failed,
            "unanswered": not failed and self.cell.n_failed > 0,
            "partial": _is_partial(self.result),
        }
        return tuple(mark for mark, applies in marks.items() if applies)

    @property
    def trained_percent(self) -> int | None:
        """Share of the stated training steps that was done, rounded up, 100 for all only; None if untrained."""
        return _trained_percent(self.result)

    @property
    def seconds_per_image(self) -> float | None:
        """Wall-clock time of predicting, without import and fit, over its images; None if it is not known."""
        seconds = [part.predict_seconds for part in self.cell.parts]
        known = [each for each in seconds if each is not None]
        # An entry that stopped was asked fewer images than are scored.
        return None if len(known) < len(seconds) or self.cell.failed else sum(known) / self.cell.n_images


def standings(results: Mapping[str, Result]) -> dict[Table, tuple[Standing, ...]]:
    """Sort results into tables, one for each cell of a track, and rank them by the cell's primary metric.

    What stands on no track has tables by release, task and view, ranked by the capped mean of the relative L2 error.

    Entries whose intervals overlap that of the best of their group share its rank. That is a cautious reading of two
    intervals, no paired test: it never separates what is equal, and it may leave together what a paired test separates.

    Oracles take no rank. They were shown the truth, so no view limits them: each stands in every table of its images.
    An entry that was trained for a part of the steps that its recipe states takes no rank: the score is not the
    method's. An entry that stopped before it had predicted every image takes none either: the score is not the entry's.

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
        for cell in result.cells.values():
            own = _table(cell)
            shared = [table for table in tables if table.images == own.images] if _is_oracle(result) else []
            for table in shared or [own]:
                _join(tables.setdefault(table, []), (file, result, cell))
    return {table: _ranked(table, tables[table]) for table in sorted(tables, key=lambda table: table.order)}


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
    file, _, cell = member
    predictions = {part.predictions_sha256 for part in cell.parts}
    for other, _, earlier in members:
        if shared := sorted(predictions & {part.predictions_sha256 for part in earlier.parts}):
            raise InvalidDataError(
                f"Result files '{other}' and '{file}' are of the same predictions (SHA-256 {shared[0][:12]}); remove"
                " one of them."
            )
    members.append(member)


def _table(cell: CellResult) -> Table:
    record = cell.record or cell.stands_for
    return Table(
        # Which metrics were scored does not matter: older records do not say it.
        cell=None if record is None else record.model_copy(update={"metrics": ()}),
        parts=tuple(
            TablePart(
                release_name=part.release.name,
                content_sha256=part.release.content_sha256,
                n_available=part.n_available,
                n_images=part.n_images,
            )
            for part in cell.parts
        ),
        task=cell.task,
        view=cell.view,
        map_mode=cell.map_mode,
        primary=cell.primary if record is None else record.primary,
    )


def _primary(table: Table, file: str, cell: CellResult) -> Interval:
    if table.primary not in cell.metrics:
        raise InvalidDataError(f"Result file '{file}' has no score '{table.primary}', by which its table is ranked.")
    return cell.metrics[table.primary]


def _ranked(table: Table, members: Sequence[_Member]) -> tuple[Standing, ...]:
    scores = {file: _primary(table, file, cell) for file, _, cell in members}
    sign = -1 if all_metrics()[table.primary].better == "higher" else 1
    ordered = sorted(members, key=lambda member: (sign * scores[member[0]].value, member[1].model.name, member[0]))
    groups: list[list[str]] = []
    worst = -math.inf  # the end of the best's interval, smaller being better
    for file, result, cell in ordered:
        if _is_oracle(result) or _is_partial(result) or cell.failed:
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
    for file, result, cell in ordered:
        rank, tied = places.get(file, (None, False))
        ranked.append(
            Standing(
                rank=rank,
                tied=tied,
                file=file,
                result=result,
                cell=cell,
                primary=scores[file],
                subset=table.subset,
            )
        )
    return tuple(ranked)
