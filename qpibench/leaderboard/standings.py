"""Sorts results into tables of comparable numbers and ranks them."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qpibench.errors import InvalidDataError
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.result import ORACLE, CellRecord, CellResult, Interval, ModelRecord, Result
from qpibench.evaluation.trained import method_name
from qpibench.specs import load_spec, spec_names

PUBLISHED_FAMILY = "eq7"
"""The family of the published task, on which every trained entry may be trained."""

_Member = tuple[str, Result, CellResult]


@dataclass(frozen=True, kw_only=True)
class TablePart:
    """One release of a table.

    Attributes
    ----------
    release_name, content_sha256
        Name and content hash of the release.
    n_available, n_images
        Number of images in the task's test role, and of scored images; if fewer were scored, they are a subset.
    """

    release_name: str
    content_sha256: str
    n_available: int
    n_images: int


@dataclass(frozen=True, kw_only=True)
class Table:
    """The properties that two results must share for their numbers to be comparable.

    Attributes
    ----------
    cell
        The cell of a track; None outside of tracks.
    parts
        The releases.
    task
        The task, which names the split of the releases.
    view, map_mode
        The inputs that the entry was shown, and how activation maps were rasterised.
    told_species
        Whether the entry was shown the species of scatterers; None where all are of one.
    primary
        The metric that ranks.
    is_open
        Whether the entries know the families of the kernels; see :func:`knows_families`.
    """

    cell: CellRecord | None
    parts: tuple[TablePart, ...]
    task: str
    view: str
    map_mode: str | None
    told_species: bool | None
    primary: str
    is_open: bool = False

    @property
    def heading(self) -> tuple[object, ...]:
        """What tables under one heading share: the track, or outside of tracks the releases."""
        return (0, self.cell.track, self.cell.track_sha256) if self.cell is not None else (1, self.releases)

    @property
    def order(self) -> tuple[object, ...]:
        """Sort key: tracks first, alphabetical order, larger subsets first."""
        cell = () if self.cell is None else _natural(self.cell.cell)
        shown = (self.task, self.view, self.map_mode or "", cell, self.told_species is False, self.is_open)
        return *self.heading, *shown, self.releases, tuple(-part.n_images for part in self.parts)

    @property
    def releases(self) -> tuple[tuple[str, str], ...]:
        """Names and hashes of the releases."""
        return tuple((part.release_name, part.content_sha256) for part in self.parts)

    @property
    def release_names(self) -> str:
        """The releases in words."""
        return ", ".join(part.release_name for part in self.parts)

    @property
    def images(self) -> tuple[object, ...]:
        """What tells the scored images from others: releases, numbers and task."""
        return tuple((part.content_sha256, part.n_images) for part in self.parts), self.task

    @property
    def n_images(self) -> int:
        """Number of scored images."""
        return sum(part.n_images for part in self.parts)

    @property
    def n_available(self) -> int:
        """Number of images in the test roles."""
        return sum(part.n_available for part in self.parts)

    @property
    def subset(self) -> bool:
        """Whether only a part of the cell, or outside of tracks of the test role, was scored."""
        return self.n_images < self.n_whole

    @property
    def n_whole(self) -> int:
        """Number of images of the cell, or outside of tracks of the test role."""
        size = None if self.cell is None else self.cell.size
        return sum(part.n_available if size is None else min(size, part.n_available) for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A row of a table: one entry with its rank.

    Attributes
    ----------
    rank
        Rank of the best entry of the group, shared by the group. None for an oracle, for an entry that was not trained
        to the end, and for an entry that failed.
    tied
        Whether the group has more than one entry.
    file
        Name of the result file.
    result
        The result.
    cell
        The result's scores for the cell of the table.
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
        """Marks that qualify the score.

        ``oracle``: the entry uses the true kernels. ``subset``: fewer images than the cell has were scored. ``failed``:
        the entry stopped. ``missing``: some images have no finite prediction. ``partial``: the training did only a
        part of the steps that the recipe states, see :attr:`trained_percent`. ``unfinished``: the evaluation was
        interrupted, and other cells of its suite or track are missing.
        """
        failed = self.cell.failed
        marks = {
            "oracle": _is_oracle(self.result),
            "subset": self.subset,
            "failed": failed,
            "missing": not failed and self.cell.n_failed > 0,
            "partial": _is_partial(self.result),
            "unfinished": self.result.status == "unfinished",
        }
        return tuple(mark for mark, applies in marks.items() if applies)

    @property
    def trained_percent(self) -> int | None:
        """Percentage of the stated training steps that was done; 100 only if all were. None for an untrained entry."""
        return _trained_percent(self.result)

    @property
    def seconds_per_image(self) -> float | None:
        """Wall-clock seconds of predict per image, without import and fit; None if unknown."""
        seconds = [part.predict_seconds for part in self.cell.parts]
        known = [each for each in seconds if each is not None]
        # An entry that stopped predicted fewer images than were scored.
        return None if len(known) < len(seconds) or self.cell.failed else sum(known) / self.cell.n_images


def standings(results: Mapping[str, Result]) -> dict[Table, tuple[Standing, ...]]:
    """Sort results into tables, one for each cell of a track, and rank them by the cell's primary metric.

    Results outside of tracks have tables by release, task and view, ranked by the capped mean of the relative L2 error.

    The best entry opens a group, and so does, in the order of the scores, each whose interval does not overlap that of
    the best of the group before it; the others share the rank of that group. So the intervals of the best of two groups
    do not overlap. Nothing else follows from ranks: the intervals of other entries with different ranks may overlap,
    and entries with the same rank may differ in a paired test.

    Three kinds of entries take no rank. Oracles use the true kernels; no view limits them, so each is in every table of
    its images. An entry trained for a part of the stated steps has a score that is not the method's. An entry that
    stopped before it had predicted every image has a score that is not the entry's.

    A partly trained run is left out of a table that has a run of its method, with any seed, trained to the end.

    Parameters
    ----------
    results
        Results by file name.

    Returns
    -------
    dict
        Standings by table, the best first; tables in alphabetical order, larger subsets first. The order of ``results``
        has no influence.

    Raises
    ------
    InvalidDataError
        If two files have the same predictions, or disagree about a release or about the level of intervals.
    """
    _check_together(results)
    tables: dict[Table, list[_Member]] = {}
    # Oracles come last, as they go into the tables of all other entries.
    for file, result in sorted(results.items(), key=lambda item: (_is_oracle(item[1]), item[0])):
        for cell in result.cells.values():
            own = _table(cell, result.model)
            shared = [table for table in tables if table.images == own.images] if _is_oracle(result) else []
            for table in shared or [own]:
                tables.setdefault(table, []).append((file, result, cell))
    ordered = sorted(tables, key=lambda table: table.order)
    return {table: _ranked(table, _without_superseded(tables[table])) for table in ordered}


def track_titles(tables: Iterable[Table]) -> dict[tuple[object, ...], str]:
    """Return the name of each track by the heading of its tables; ``NAME@HASH`` where tracks of one name differ."""
    headings = {table.heading: table.cell for table in tables if table.cell is not None}
    names = [cell.track for cell in headings.values()]
    return {
        heading: cell.track if names.count(cell.track) == 1 else f"{cell.track}@{cell.track_sha256[:8]}"
        for heading, cell in headings.items()
    }


def entry_titles(tables: Mapping[Table, Sequence[Standing]]) -> dict[str, str]:
    """Return the name of each entry on tracks by its result file; ``NAME, FILE`` where an entry has several results."""
    names = {
        standing.file: standing.result.model.name
        for table, members in tables.items()
        if table.cell is not None
        for standing in members
    }
    counts = Counter(names.values())
    return {file: name if counts[name] == 1 else f"{name}, {file}" for file, name in names.items()}


def _without_superseded(members: Sequence[_Member]) -> list[_Member]:
    """Leave out partly trained runs of methods that have a run trained to the end among the members."""
    complete = {_method(result) for _, result, cell in members if not _is_partial(result) and not cell.failed}
    return [member for member in members if not _is_partial(member[1]) or _method(member[1]) not in complete]


def _method(result: Result) -> tuple[str, str] | None:
    """Return the name without seed and the hash of the training data's spec; None for an untrained entry."""
    training = result.model.training
    return None if training is None else (method_name(result.model.name), training.source.spec_sha256)


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


def _check_together(results: Mapping[str, Result]) -> None:
    """Check that no predictions are listed twice, and that all files state the same level and the same releases."""
    owners: dict[tuple[str, str], str] = {}
    stated: dict[str, tuple[str, object]] = {}
    for file, result in sorted(results.items()):
        facts: list[tuple[str, object]] = [("the level of intervals", result.intervals.level)]
        for part in (part for cell in result.cells.values() for part in cell.parts):
            owner = owners.setdefault((part.predictions_sha256, part.task), file)
            if owner != file:
                raise InvalidDataError(
                    f"Result files '{owner}' and '{file}' are of the same predictions (SHA-256"
                    f" {part.predictions_sha256[:12]}); remove one of them."
                )
            release = f"the release {part.release.content_sha256[:12]}"
            facts += [(f"{name} of {release}", value) for name, value in part.release.model_dump().items()]
            facts.append((f"n_available of {release}, task {part.task},", part.n_available))
        for what, value in facts:
            other, earlier = stated.setdefault(what, (file, value))
            if earlier != value:
                raise InvalidDataError(
                    f"Result files '{other}' and '{file}' contradict each other: {what} is {earlier!r} in the first and"
                    f" {value!r} in the second; score the predictions of both again."
                )


def knows_families(model: ModelRecord, families: Iterable[str]) -> bool:
    """Whether an entry declares that it knows, or was trained on, one of the families outside of eq. 7.

    A family is declared by its name, or by that of a shipped spec of its kernels, such as ``stream of the spec
    ag111_128``. On kernels of these families such an entry is compared with its like, and not with entries that never
    met them.
    """
    declared = re.sub("[- ]", "_", " ".join((*model.knows, *model.trained_on)).lower())
    outside = [family for family in families if family != PUBLISHED_FAMILY]
    if any(re.search(rf"(?<![a-z]){family}", declared) for family in outside):  # "file", but not the end of "profile"
        return True
    return any(
        re.search(rf"(?<![a-z]){name}(?![a-z0-9])", declared) for name, of in _spec_families().items() if of in outside
    )


@functools.cache
def _spec_families() -> dict[str, str]:
    """The family of each shipped spec, by the name of the spec."""
    return {name: load_spec(name).kernels.family for name in spec_names()}


def _natural(name: str) -> tuple[object, ...]:
    """Sort key of a name whose numbers are ordered by their value."""
    return tuple((1, float(part)) if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name) if part)


def _table(cell: CellResult, model: ModelRecord) -> Table:
    record = cell.record or cell.stands_for
    return Table(
        # The list of metrics is not compared, as older records lack it.
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
        told_species=cell.parts[0].told_species,
        primary=cell.primary if record is None else record.primary,
        is_open=knows_families(model, cell.families),
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
