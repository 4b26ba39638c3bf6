"""From results to standings: which numbers may be compared, and which of them differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qpibench.errors import InvalidDataError
from qpibench.evaluation.result import PRIMARY_METRIC, Interval, Result, TaskResult


@dataclass(frozen=True, kw_only=True)
class Track:
    """What two results must share for their numbers to be comparable.

    Attributes
    ----------
    release_name, content_sha256
        The data.
    task
        How they were split.
    view, map_mode
        What the entry was shown, and how activation maps were rasterised.
    n_available, n_images
        Images of the task's test role, and how many of them were scored: fewer make a subset.
    """

    release_name: str
    content_sha256: str
    task: str
    view: str
    map_mode: str
    n_available: int
    n_images: int

    @property
    def order(self) -> tuple[object, ...]:
        """Key that puts tracks in alphabetical order, and larger subsets first."""
        return self.release_name, self.content_sha256, self.task, self.view, self.map_mode, -self.n_images

    @property
    def subset(self) -> bool:
        """Whether only a part of the test role was scored."""
        return self.n_images < self.n_available


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An entry's place on a track.

    Attributes
    ----------
    rank
        Place of the best entry of the group; entries of a group share it.
    tied
        Whether the group has more than one entry.
    file
        Name of the result file.
    result
        What it holds.
    task
        Its part for the track's task.
    """

    rank: int
    tied: bool
    file: str
    result: Result
    task: TaskResult

    @property
    def primary(self) -> Interval:
        """The score that ranks."""
        return _primary(self.task)

    @property
    def marks(self) -> tuple[str, ...]:
        """Reservations about the score: ``subset``, ``failed`` (the entry stopped), ``partial`` (images unanswered)."""
        failed = self.result.status == "failed"
        marks = {"subset": self.task.subset, "failed": failed, "partial": not failed and self.task.n_failed > 0}
        return tuple(mark for mark, applies in marks.items() if applies)

    @property
    def seconds_per_image(self) -> float | None:
        """Wall-clock time of predicting the task, without import and fit, over its images; None if it is not known."""
        seconds = self.task.predict_seconds
        # An entry that stopped was asked fewer images than are scored.
        return None if seconds is None or self.result.failure else seconds / self.task.n_images


def standings(results: Mapping[str, Result]) -> dict[Track, tuple[Standing, ...]]:
    """Sort results into tracks and rank them by the capped mean of the relative L2 error.

    Entries whose intervals overlap that of the best of their group share its rank. That is a cautious reading of two
    intervals, no paired test: it never separates what is equal, and it may leave together what a paired test separates.

    Parameters
    ----------
    results
        Results by the names of their files.

    Returns
    -------
    dict
        Tracks in alphabetical order, larger subsets first, and the standings of each from the best on. The
        order of ``results`` has no influence.

    Raises
    ------
    InvalidDataError
        If two results of a track are of the same predictions.
    """
    tracks: dict[Track, list[tuple[str, Result, TaskResult]]] = {}
    for file, result in sorted(results.items()):
        for name, task in result.tasks.items():
            members = tracks.setdefault(_track(result, name, task), [])
            for other, earlier, _ in members:
                if earlier.predictions_sha256 == result.predictions_sha256:
                    raise InvalidDataError(
                        f"Result files '{other}' and '{file}' are of the same predictions (SHA-256"
                        f" {result.predictions_sha256[:12]}); remove one of them."
                    )
            members.append((file, result, task))
    return {track: _ranked(tracks[track]) for track in sorted(tracks, key=lambda track: track.order)}


def _track(result: Result, name: str, task: TaskResult) -> Track:
    return Track(
        release_name=result.release.name,
        content_sha256=result.release.content_sha256,
        task=name,
        view=result.view,
        map_mode=result.map_mode,
        n_available=task.n_available,
        n_images=task.n_images,
    )


def _ranked(members: Sequence[tuple[str, Result, TaskResult]]) -> tuple[Standing, ...]:
    ordered = sorted(members, key=lambda member: (_primary(member[2]).value, member[1].model.name, member[0]))
    groups: list[list[tuple[str, Result, TaskResult]]] = []
    for member in ordered:
        if groups and _primary(member[2]).low <= _primary(groups[-1][0][2]).high:
            groups[-1].append(member)
        else:
            groups.append([member])
    ranked: list[Standing] = []
    for group in groups:
        rank = len(ranked) + 1
        ranked += [
            Standing(rank=rank, tied=len(group) > 1, file=file, result=result, task=task)
            for file, result, task in group
        ]
    return tuple(ranked)


def _primary(task: TaskResult) -> Interval:
    score: Interval = getattr(task.metrics, PRIMARY_METRIC)
    return score
