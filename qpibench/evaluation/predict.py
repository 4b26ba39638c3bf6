"""Runs a model in its own process on a release's test images and writes its predictions to a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import UsageError
from qpibench.evaluation.answers import Answers, IsolatedAnswers, training_role
from qpibench.evaluation.course import Course, Progress
from qpibench.evaluation.entries import Entry, find_entry
from qpibench.evaluation.entry_code import code_sha256
from qpibench.evaluation.execution import DEFAULT_EXECUTION, Execution, default_batch_size
from qpibench.evaluation.isolation.declaration import Declaration
from qpibench.evaluation.isolation.failure import ModelFailure
from qpibench.evaluation.isolation.isolated import IsolatedModel
from qpibench.evaluation.isolation.parent import closed_parent
from qpibench.evaluation.pixels import refusal
from qpibench.evaluation.prediction_record import Record
from qpibench.evaluation.predictions_writer import PredictionsWriter
from qpibench.evaluation.result import CellRecord, ModelRecord, Run
from qpibench.evaluation.trained import training_record
from qpibench.grid import Grid
from qpibench.tasks import Batch, allows, asking_order, view_batch
from qpibench.tasks.patch import kernel_grid
from qpibench.tasks.species import count_of_species, first_kernel, told_species_fields
from qpibench.tasks.views import ASK_MAP_MODE, check_view

if TYPE_CHECKING:
    from qpibench.release import Release


@dataclass(frozen=True, kw_only=True)
class PredictOutcome:
    """Outcome of a run of a model.

    Attributes
    ----------
    path
        The predictions file.
    record
        The record in that file; ``record.failure`` is the reason why the model stopped, or None.
    n_predicted, n_images
        Number of images that the model predicted before it stopped, and of all images that it was to predict.
    warnings
        One sentence each.
    """

    path: Path
    record: Record
    n_predicted: int
    n_images: int
    warnings: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 if the model stopped before it had predicted every image, else 0."""
        return 0 if self.record.failure is None else 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """The images to predict, and the inputs that the model is shown.

    Attributes
    ----------
    tasks
        Names of tasks; all that the release has if None.
    view, map_mode
        The inputs that the model may see; see :func:`~qpibench.tasks.view_batch`. A model declares the least view that
        it needs; it is shown everything that this view grants.
    limit
        Number of images per task, chosen by :func:`~qpibench.tasks.subset`; all of them if None.
    cell
        The cell of a track that this request belongs to; recorded in the predictions file.
    training
        Release whose training role ``fit`` is given; the release that is predicted if None.
    told_species
        Whether the view ``positions`` shows the species of the scatterers of a release with two species.
    kernel_px
        Side of the predicted kernels, the central pixels of the grid; see :meth:`qpibench.grid.Grid.central`. All
        pixels if None.

    Raises
    ------
    UsageError
        If the view or the map mode is unknown, or the view shows a map and no mode is given.
    """

    tasks: Sequence[str] | None = None
    view: str = "positions"
    map_mode: str | None = None
    limit: int | None = None
    cell: CellRecord | None = None
    training: Release | None = None
    told_species: bool = True
    kernel_px: int | None = None

    def __post_init__(self) -> None:
        check_view(self.view, self.map_mode)

    def view_of(self, release: Release) -> Callable[[NDArray[np.integer]], Batch]:
        """Return the function from rows of a release to what the model may see of them."""
        wanted = self.kernel_grid(release)
        return lambda rows: view_batch(
            release.observations(rows),
            release.grid,
            wanted,
            view=self.view,
            map_mode=self.map_mode,
            told_species=self.told_species,
        )

    def kernel_grid(self, release: Release) -> Grid:
        """Return the grid of the kernels that are asked of a release.

        Raises
        ------
        UsageError
            If ``kernel_px`` does not fit the release's grid.
        """
        return kernel_grid(release.grid, self.kernel_px)

    def index(self, release: Release) -> dict[str, NDArray[np.int32]]:
        """Return the rows of a release that are asked, by task, in the order in which the model sees them."""
        tasks = dict.fromkeys(self.tasks or release.tasks)
        return {task: asking_order(release, task, self.limit) for task in tasks}

    def paths(self, release: Release) -> tuple[Path, ...]:
        """Return all files of a release and of that for training; a virtual release refers to its shards."""
        releases = (release, self.training or release)
        shards = [Path(shard.path) for each in releases if each.shards is not None for shard in each.shards.files]
        return (*(Path(each.path) for each in releases), *shards)

    def tells_species(self, release: Release) -> bool | None:
        """Whether the model is shown the species of a release's scatterers; None if they are all of one."""
        if count_of_species(release) == 1:
            return None
        return self.told_species and allows(self.view, "positions")


class UnmetNeedError(UsageError):
    """The model needs more than the request gives, such as a view with more inputs, or cannot take two species."""


def predict(
    model: str,
    release: Release,
    path: str | Path,
    request: Request = Request(),
    execution: Execution = DEFAULT_EXECUTION,
    *,
    answers: Answers | None = None,
    progress: Progress | None = None,
    traceback: bool = False,
) -> PredictOutcome:
    """Predict the kernels of a release's test images with a model and write them to a file.

    A model that fails at an image, or reaches a limit, is stopped: that batch and all images after it stay without a
    prediction (rows of NaN), and the file says so. A model that fails in ``fit`` has no predictions at all. The first
    batch that takes too long is tried again, see :class:`~qpibench.evaluation.course.Course`.

    The model gets the images in a shuffled order, see :func:`~qpibench.tasks.asking_order`. At the end it gets a few
    images of every task again, one at a time; if a prediction changes, the outcome has a warning.

    Parameters
    ----------
    model
        A file, ``FILE.py:NAME``, the name of an entry, or a run folder; see
        :func:`~qpibench.evaluation.entries.find_entry`.
    release
        The release.
    path
        The predictions file, which appears when it is complete.
    request
        The images to predict, and the inputs that the model is shown.
    execution
        Batch size, threads, seed and limits.
    answers
        The model, if it runs elsewhere and may predict several releases at the same time, so the record has no time of
        the whole. It is started in a process of this machine if None.
    progress
        Called after every batch.
    traceback
        Whether the error of a model that cannot be loaded shows its traceback.

    Raises
    ------
    UsageError
        If there is no such model or task, the release has no test role, or no training role for a model with ``fit``,
        or one species of scatterers and the request hides species, or the file cannot be written there.
    UnmetNeedError
        If the model needs more than it would be shown, or two species of scatterers are more than it takes or can learn
        from; also a UsageError.
    InvalidDataError
        If the model cannot be imported or has no predict, or the release is damaged; see
        :meth:`~qpibench.release.Release.check`.
    UnavailableError
        If it needs a package of ``qpibench[training]`` that is not installed.
    """
    entry = find_entry(model)
    started = time.monotonic()
    wanted = request.kernel_grid(release)
    n_species, told_species = count_of_species(release), request.tells_species(release)
    if n_species == 1 and not request.told_species:
        raise UsageError(f"Release '{release.name}' has one species of scatterers, so there is none to hide.")
    release.check("image", release.told_field, *told_species_fields(release))
    _check_tasks(release)
    index = request.index(release)
    batch_size = execution.batch_size or default_batch_size(release.grid)
    hidden = (*request.paths(release), Path(path))
    hashes = entry.sha256, code_sha256(entry.path)  # before it runs, as a model can write to its own files
    elsewhere = answers is not None
    if answers is None:
        model_process = IsolatedModel(
            entry, limits=execution.limits, hidden=hidden, seed=execution.seed, threads=execution.threads
        )
        answers = IsolatedAnswers(model_process, release, request, seed=execution.seed)
    with (
        closed_parent(hidden),
        PredictionsWriter(
            path, release_sha256=release.content_sha256, index=index, grid=wanted, n_species=n_species
        ) as writer,
    ):
        course = Course(release, index, batch_size=batch_size, progress=progress)
        try:
            with answers:
                check_needs(entry, answers.declaration, release, request)
                if answers.declaration.has_fit:
                    training = request.training or release
                    training.check("image", training.told_field)
                course.run(answers, writer)
        except ModelFailure as failure:
            if course.stage == "import":
                shown = f"\n{failure.traceback}" if traceback and failure.traceback else ""
                raise failure.of_loading(f"Model '{model}' cannot be used: {failure.message}.{shown}") from None
            course.failed(failure)
        record = Record(
            model=_model_record(entry, answers.declaration, hashes, request),
            view=request.view,
            map_mode=request.map_mode,
            told_species=told_species,
            cell=request.cell,
            limit=request.limit,
            kernel_px=request.kernel_px,
            seed=execution.seed,
            batch_size=batch_size,
            threads=execution.threads,
            failure=course.failure,
            non_finite=course.non_finite,
            fit_seconds=course.fit_seconds,
            task_seconds=course.task_seconds,
            run=Run(
                seconds=None if elsewhere else time.monotonic() - started,
                peak_memory_bytes=answers.peak_memory_bytes,
                environment=answers.environment,
            ),
        )
        writer.finish(record)
    warnings = (*_warnings(record), *_training_warnings(entry, record), *course.warnings)
    return PredictOutcome(
        path=Path(path),
        record=record,
        n_predicted=course.n_predicted,
        n_images=sum(map(len, index.values())),
        warnings=warnings,
    )


def check_needs(entry: Entry, declaration: Declaration, release: Release, request: Request) -> None:
    """Check that an entry can take a request on a release.

    Raises
    ------
    UsageError
        If it cannot; as :func:`predict`.
    """
    _check_view(entry, declaration.needs, request)
    if count_of_species(release) > 1 and not declaration.takes_species:
        raise UnmetNeedError(
            f"Entry '{entry.name}' does not take two species of scatterers, which release '{release.name}' has; an"
            " entry that predicts the kernel of each declares takes_species = True."
        )
    if refused := refusal(entry, declaration.takes_pixels, release.grid, request.kernel_grid(release)):
        raise UnmetNeedError(refused)
    if declaration.has_fit:
        _check_training(entry, request.training or release, request)


def _check_view(entry: Entry, needs: str | None, request: Request) -> None:
    if needs is None:
        return
    in_track = request.cell is not None  # a track sets view and map, so the options are refused
    if not allows(request.view, needs):
        but = f"the cell shows '{request.view}' only" if in_track else f"is granted '{request.view}' only"
        raise UnmetNeedError(
            f"Entry '{entry.name}' needs the view '{needs}', but {but}"
            + ("." if in_track else f"; use --view {needs}.")
        )
    if needs == "raster" and request.map_mode is None:
        remedy = ", which the cell does not show" if in_track else f"; {ASK_MAP_MODE}"
        raise UnmetNeedError(f"Entry '{entry.name}' needs an activation map{remedy}.")


def _check_tasks(release: Release) -> None:
    if release.tasks:
        return
    strata, kernels = np.unique(release.stratum[:: count_of_species(release)], return_counts=True)
    few = kernels.argmin()
    ood = (
        f"{release.family.STRATUM} {strata[few]} has only {kernels[few]} kernel"
        if kernels[few] < 2
        else "no kernels are held out"
    )
    most = np.bincount(first_kernel(release)).max()
    raise UsageError(
        f"Release '{release.name}' has no test role, so there is nothing to predict: {ood}, which leaves no OOD test,"
        f" and a kernel has at most {most} images, too few for an ID test; make it with two kernels of every"
        f" {release.family.STRATUM} or with more images of each kernel."
    )


def _check_training(entry: Entry, release: Release, request: Request) -> None:
    if count_of_species(release) > 1:
        raise UnmetNeedError(
            f"Entry '{entry.name}' has a fit, and learning from release '{release.name}' with two species of scatterers"
            " is not defined yet."
        )
    if len(training_role(release)):
        return
    learns = f"Entry '{entry.name}' has a fit, but the training role of release '{release.name}' is empty"
    if request.cell is not None:
        raise UnmetNeedError(f"{learns}: the cell has no training images.")
    raise UsageError(f"{learns}; make the release with more images, or with splits.ood_kernels below 1.")


def _model_record(entry: Entry, declaration: Declaration, hashes: tuple[str, str], request: Request) -> ModelRecord:
    learns = (f"the training role of the {'release' if request.cell is None else 'track'}",)
    return ModelRecord(
        name=entry.name,
        file_sha256=hashes[0],
        code_sha256=hashes[1],
        weights=declaration.weights,
        knows=declaration.knows,
        needs=() if declaration.needs is None else (declaration.needs,),
        trained_on=declaration.trained_on or (learns if declaration.has_fit else ()),
        training=None if entry.run is None else training_record(entry.run),
    )


def _warnings(record: Record) -> tuple[str, ...]:
    return tuple(
        f"{count:,} images of task '{task}' have predictions with NaN or infinity and count as failed."
        if count > 1
        else f"An image of task '{task}' has a prediction with NaN or infinity and counts as failed."
        for task, count in record.non_finite.items()
        if count
    )


def _training_warnings(entry: Entry, record: Record) -> Iterator[str]:
    if entry.run is None:
        return
    trained_map, shown_map = entry.run.map_mode, record.map_mode
    # Without a map mode the view 'positions' shows no map, and a trained model makes its own.
    if shown_map is not None and trained_map not in (None, shown_map):
        remedy = f"; use --map {trained_map}" if record.cell is None else ""
        yield f"The model was trained with {trained_map} maps, but is shown {shown_map} ones{remedy}."
    # A shipped entry goes with the version and the commit that the run folder names.
    if entry.run.entry_file is None:
        return
    if entry.run.entry_sha256 != record.model.file_sha256:
        yield f"'{entry.path}' has changed since its weights were trained; train again if that concerns the model."
    elif entry.run.code_sha256 not in (None, record.model.code_sha256):
        yield (
            f"A module that '{entry.path}' imports has changed since its weights were trained; train again if that"
            " concerns the model."
        )
