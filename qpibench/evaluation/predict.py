"""From a model and a release to a predictions file: the model in its own process, what it answers on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, UnavailableError, UsageError
from qpibench.evaluation.agreement import difference
from qpibench.evaluation.entries import Entry, find_entry
from qpibench.evaluation.entry_code import code_sha256
from qpibench.evaluation.environment import environment
from qpibench.evaluation.isolation.failure import ModelFailure
from qpibench.evaluation.isolation.isolated import IsolatedModel, Limits, TrainingRows
from qpibench.evaluation.predictions import DATASETS, FailureRecord, PredictionsWriter, Record
from qpibench.evaluation.result import CellRecord, ModelRecord, Run
from qpibench.evaluation.trained import training_record
from qpibench.tasks import Batch, allows, asking_order, view_batch
from qpibench.tasks.views import ASK_MAP_MODE, check_view

if TYPE_CHECKING:
    from qpibench.release import Release

_ASKED_ALONE = 3  # images per task

Progress = Callable[[int, int], None]
"""Told the images that are answered and those that are asked for."""


@dataclass(frozen=True, kw_only=True)
class PredictOutcome:
    """What became of a prediction.

    Attributes
    ----------
    path
        The predictions file.
    record
        What it says of how it was made; ``record.failure`` is why the model stopped, or None.
    warnings
        One sentence each.
    """

    path: Path
    record: Record
    warnings: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 if the model stopped before it had answered every image, else 0."""
        return 0 if self.record.failure is None else 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a model is asked, and what it is shown.

    Attributes
    ----------
    tasks
        Names of tasks; all that the release has if None.
    view, map_mode
        What the model may see; see :func:`~qpibench.tasks.view_batch`. What a model declares to need is the least
        that it can work with; it is shown all that the view grants.
    limit
        Number of images per task, chosen by :func:`~qpibench.tasks.subset`; all of them if None.
    cell
        The cell of a track that asks this; noted in the predictions file.

    Raises
    ------
    UsageError
        If there is no such view or map mode, or the view shows a map and there is no mode.
    """

    tasks: Sequence[str] | None = None
    view: str = "positions"
    map_mode: str | None = None
    limit: int | None = None
    cell: CellRecord | None = None

    def __post_init__(self) -> None:
        check_view(self.view, self.map_mode)


class UnmetNeedError(UsageError):
    """The model needs more than it would be shown."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a model is run.

    Attributes
    ----------
    batch_size
        Images per call of predict.
    seed
        Seed of the random number generators in the model's process.
    limits
        What the model may take.

    Raises
    ------
    UsageError
        If a number is out of range.
    """

    batch_size: int = 32
    seed: int = 0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        numbers = {
            "batch size": self.batch_size,
            "time limit": self.limits.batch_s,
            "time limit of fit": self.limits.fit_s,
            "memory limit": self.limits.memory_gib,
        }
        for name, number in numbers.items():
            if not number > 0:
                raise UsageError(f"The {name} must be larger than 0, found {number}.")
        if self.seed < 0:
            raise UsageError(f"The seed must not be negative, found {self.seed}.")


def predict(
    model: str,
    release: Release,
    path: str | Path,
    request: Request = Request(),
    execution: Execution = Execution(),
    *,
    progress: Progress | None = None,
    traceback: bool = False,
) -> PredictOutcome:
    """Let a model predict the kernels of a release's test images, and write them to a file.

    A model that fails at an image, or reaches a limit, is stopped: that batch and all images after it stay without an
    answer (rows of NaN), and the file says so. A model that fails in ``fit`` has no answers at all.

    Images are asked in a shuffled order, see :func:`~qpibench.tasks.asking_order`. At the end a few images of every
    task are asked again, alone; where that changes the answer, the outcome has a warning.

    Parameters
    ----------
    model
        A file, ``FILE.py:NAME``, the name of an entry, or a run folder; see
        :func:`~qpibench.evaluation.entries.find_entry`.
    release
        The release.
    path
        Where to write; the file appears when it is complete.
    request
        Which images are asked, and what the model is shown of them.
    execution
        How the model is run.
    progress
        Called after every batch.
    traceback
        Whether the error of a model that cannot be loaded shows its traceback.

    Raises
    ------
    UsageError
        If there is no such model or task, the release has no test role, or no training role for a model with ``fit``,
        or the file cannot be put there.
    UnmetNeedError
        If the model needs more than it would be shown; also a UsageError.
    InvalidDataError
        If the model cannot be imported or has no predict, or the release is damaged; see
        :meth:`~qpibench.release.Release.check`.
    UnavailableError
        If it needs a package of ``qpibench[training]`` that is not installed.
    """
    entry = find_entry(model)
    started = time.monotonic()
    release.check("image", release.told_field)
    _check_tasks(release)
    tasks = dict.fromkeys(request.tasks or release.tasks)
    index = {task: asking_order(release, task, request.limit) for task in tasks}
    isolated = IsolatedModel(entry, limits=execution.limits, hidden=_paths(release), seed=execution.seed)
    with PredictionsWriter(path, release_sha256=release.content_sha256, index=index, grid=release.grid) as writer:
        run = _Predicting(release, index, request, batch_size=execution.batch_size, progress=progress)
        try:
            with isolated:
                _check_needs(entry, isolated.declaration.needs, request)
                if isolated.declaration.has_fit:
                    _check_training(entry, release)
                run.answer_all(isolated, writer)
        except ModelFailure as failure:
            if run.stage == "import":
                shown = f"\n{failure.traceback}" if traceback and failure.traceback else ""
                kind = UnavailableError if failure.kind == "missing package" else InvalidDataError
                raise kind(f"Model '{model}' cannot be used: {failure.message}.{shown}") from None
            run.failed(failure)
        record = Record(
            model=_model_record(entry, isolated),
            view=request.view,
            map_mode=request.map_mode,
            cell=request.cell,
            limit=request.limit,
            seed=execution.seed,
            batch_size=execution.batch_size,
            failure=run.failure,
            non_finite=run.non_finite,
            fit_seconds=run.fit_seconds,
            task_seconds=run.task_seconds,
            run=Run(
                seconds=time.monotonic() - started,
                peak_memory_bytes=isolated.peak_memory_bytes,
                environment=environment(),
            ),
        )
        writer.finish(record)
    warnings = (*_warnings(record), *_training_warnings(entry, request), *run.warnings)
    return PredictOutcome(path=Path(path), record=record, warnings=warnings)


def _paths(release: Release) -> tuple[Path, ...]:
    """All files of a release; a virtual one has its shards elsewhere."""
    shards = release.shards.files if release.shards is not None else ()
    return (Path(release.path), *(shard.path for shard in shards))


def _check_needs(entry: Entry, needs: str | None, request: Request) -> None:
    if needs is None:
        return
    if not allows(request.view, needs):
        raise UnmetNeedError(
            f"Entry '{entry.name}' needs the view '{needs}', but is granted '{request.view}' only; use --view {needs}."
        )
    if needs == "raster" and request.map_mode is None:
        raise UnmetNeedError(f"Entry '{entry.name}' needs an activation map; {ASK_MAP_MODE}.")


def _check_tasks(release: Release) -> None:
    if release.tasks:
        return
    strata, kernels = np.unique(release.stratum, return_counts=True)
    few = kernels.argmin()
    ood = (
        f"{release.family.STRATUM} {strata[few]} has only {kernels[few]} kernel"
        if kernels[few] < 2
        else "no kernels are held out"
    )
    most = np.bincount(release.observation_kernel).max()
    raise UsageError(
        f"Release '{release.name}' has no test role, so there is nothing to predict: {ood}, which leaves no OOD test,"
        f" and a kernel has at most {most} images, too few for an ID test; make it with two kernels of every"
        f" {release.family.STRATUM} or with more images of each kernel."
    )


def _check_training(entry: Entry, release: Release) -> None:
    if not len(_training_role(release)):
        raise UsageError(
            f"Entry '{entry.name}' has a fit, but the training role of release '{release.name}' is empty; make the"
            " release with more images."
        )


class _Predicting:
    """The course of one prediction, and how far it came."""

    def __init__(
        self,
        release: Release,
        index: dict[str, NDArray[np.int32]],
        request: Request,
        *,
        batch_size: int,
        progress: Progress | None,
    ) -> None:
        self._release, self._index, self._progress = release, index, progress
        self._request, self._batch_size = request, batch_size
        self._task: str | None = None
        self._row: int | None = None
        self.stage = "import"
        self.failure: FailureRecord | None = None
        self.fit_seconds: float | None = None
        self.task_seconds = dict.fromkeys(index, 0.0)
        self.non_finite = dict.fromkeys(index, 0)
        self._latent_size: int | None = None
        self.warnings: list[str] = []

    def answer_all(self, model: IsolatedModel, writer: PredictionsWriter) -> None:
        """Fit, then answer every image of every task."""
        self.stage = "fit"
        if model.declaration.has_fit:
            self.fit_seconds = 0.0
            started = time.monotonic()
            try:
                model.fit(_training_rows(self._release, self._view_of))
            finally:
                self.fit_seconds = time.monotonic() - started
        self.stage = "predict"
        together: list[tuple[str, int, dict[str, NDArray[np.float32]]]] = []
        done, total = 0, sum(len(rows) for rows in self._index.values())
        for task, rows in self._index.items():
            # Any of them will do, as they are shuffled; these are spread over the batches.
            again = np.linspace(0, len(rows) - 1, _ASKED_ALONE, dtype=int)
            for row in range(0, len(rows), self._batch_size):
                self._task, self._row = task, row
                chosen = rows[row : row + self._batch_size]
                answer = self._answer(model, task, self._view_of(chosen))
                writer.write(task, row, answer)
                if len(chosen) > 1:
                    for place in np.intersect1d(again - row, np.arange(len(chosen))):
                        one = {name: array[[place]] for name, array in answer.items()}
                        together.append((task, int(chosen[place]), one))
                done += len(chosen)
                if self._progress is not None:
                    self._progress(done, total)
        for task, image, answer in together:
            if all(np.isfinite(array).all() for array in answer.values()):
                try:
                    self._ask_alone(model, task, image, answer)
                except ModelFailure as failure:  # all images have their answer: this spoils none
                    self.warnings.append(f"Image {image} of task '{task}' asked again, alone: {failure.message}.")
                    return
        if model.declaration.has_latents:
            self._encode_kernels(model, writer)

    def failed(self, failure: ModelFailure) -> None:
        """Note why the model stopped."""
        self.failure = FailureRecord(
            kind=failure.kind,
            stage="fit" if self.stage == "fit" else "predict",
            message=failure.message,
            traceback=failure.traceback,
            task=self._task,
            row=self._row,
        )

    def _answer(self, model: IsolatedModel, task: str, batch: Batch) -> dict[str, NDArray[np.float32]]:
        started = time.monotonic()
        try:
            answer = _stored(model.predict(batch))
        finally:
            self.task_seconds[task] += time.monotonic() - started
        size = answer["latent"].shape[1] if "latent" in answer else self._latent_size
        if self._latent_size not in (None, size):
            raise ModelFailure(
                "answer", f"predict returned a latent of {size} values, after {self._latent_size} before"
            )
        self._latent_size = size
        self.non_finite[task] += int((~np.isfinite(answer["kernel"]).all(axis=(1, 2))).sum())
        return answer

    def _ask_alone(self, model: IsolatedModel, task: str, image: int, together: dict[str, NDArray[np.float32]]) -> None:
        alone = _stored(model.predict(self._view_of(np.array([image]))))
        problem = difference(together, alone, "when it is asked alone")
        if problem is not None:
            self.warnings.append(
                f"The answer to image {image} of task '{task}' depends on its batch mates, or on chance: {problem}."
            )

    def _encode_kernels(self, model: IsolatedModel, writer: PredictionsWriter) -> None:
        kernels = self._release.kernels.image
        blocks = [kernels[at : at + self._batch_size] for at in range(0, len(kernels), self._batch_size)]
        try:
            latents = [model.encode_kernel(block).astype(np.float32) for block in blocks]
        except ModelFailure as failure:  # the answers are all there: this spoils none
            self.warnings.append(f"The kernels have no latents: {failure.message}.")
            return
        sizes = {part.shape[1] for part in latents} | ({self._latent_size} if self._latent_size else set())
        if len(sizes) > 1:
            listed = ", ".join(map(str, sorted(sizes)))
            self.warnings.append(f"The kernels have no latents: those of images and kernels differ in size, {listed}.")
            return
        writer.write_kernel_latents(np.concatenate(latents))

    def _view_of(self, rows: NDArray[np.integer]) -> Batch:
        release, request = self._release, self._request
        return view_batch(release.observations(rows), release.grid, view=request.view, map_mode=request.map_mode)


def _stored(answer: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    with np.errstate(over="ignore"):  # too large for float32 becomes infinity, which is counted
        return {name: array.astype(np.float32) for name, array in answer.items() if name in DATASETS}


def _training_role(release: Release) -> NDArray[np.int32]:
    """The images that every task allows to train on, so that one fit serves all."""
    return reduce(np.intersect1d, [release.split(task, "train") for task in release.tasks])


def _training_rows(release: Release, view_of: Callable[[NDArray[np.integer]], Batch]) -> TrainingRows:
    rows = _training_role(release)
    kernels, kernel_index = np.unique(release.observation_kernel[rows], return_inverse=True)
    return TrainingRows(
        kernels=release.kernels.image[kernels],
        kernel_index=kernel_index.astype(np.int32),
        grid=release.grid,
        kernel_grid=release.grid,
        batch=lambda chosen: view_of(rows[chosen]),
    )


def _model_record(entry: Entry, isolated: IsolatedModel) -> ModelRecord:
    declaration = isolated.declaration
    return ModelRecord(
        name=entry.name,
        file_sha256=entry.sha256,
        code_sha256=code_sha256(entry.path),
        weights=declaration.weights,
        knows=declaration.knows,
        needs=() if declaration.needs is None else (declaration.needs,),
        trained_on=declaration.trained_on,
        training=None if entry.run is None else training_record(entry.run),
    )


def _warnings(record: Record) -> tuple[str, ...]:
    return tuple(
        f"{count} images of task '{task}' were answered with NaN or infinity and count as failed."
        for task, count in record.non_finite.items()
        if count
    )


def _training_warnings(entry: Entry, request: Request) -> Iterator[str]:
    if entry.run is None:
        return
    trained_map, shown_map = entry.run.map_mode, request.map_mode
    # From positions a trained model makes maps of its own.
    if request.view == "raster" and trained_map not in (None, shown_map):
        yield f"The model was trained with {trained_map} maps, but is shown {shown_map} ones; use --map {trained_map}."
    # A shipped entry goes with the version and the commit that the run folder names.
    if entry.run.entry_file is None:
        return
    if entry.run.entry_sha256 != entry.sha256:
        yield f"'{entry.path}' has changed since its weights were trained; train again if that concerns the model."
    elif entry.run.code_sha256 not in (None, code_sha256(entry.path)):
        yield (
            f"A module that '{entry.path}' imports has changed since its weights were trained; train again if that"
            " concerns the model."
        )
