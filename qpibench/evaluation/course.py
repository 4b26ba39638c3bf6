"""Runs a model through a request: fit, every batch of every task, a second try one by one, latents and floor."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.agreement import difference
from qpibench.evaluation.isolation.failure import ModelFailure
from qpibench.evaluation.isolation.isolated import IsolatedModel, TrainingRows
from qpibench.evaluation.prediction_record import FailureRecord
from qpibench.evaluation.predictions import DATASETS, SPECIES
from qpibench.evaluation.predictions_writer import PredictionsWriter
from qpibench.grid import Grid, central_pixels
from qpibench.tasks import Batch

if TYPE_CHECKING:
    from qpibench.release import Release

Progress = Callable[[int, int], None]
"""Called with the number of images that are predicted and the number of all images."""

_ASKED_ALONE = 3  # images per task, but no more than one in ten

_REMEDIES = {
    ("fit", "time limit"): "allow more with --fit-time-limit",
    ("fit", "memory limit"): "allow more with --memory-limit",
    ("predict", "time limit"): "this was one image alone, as with --batch-size 1, so allow more with --time-limit",
    ("predict", "memory limit"): "use a smaller --batch-size, or allow more with --memory-limit",
}


class Course:
    """Calls a model for every image and records times, warnings and failures.

    If a batch of several images takes too long, the model is started anew, fitted again if it has a ``fit``, and called
    with one image at a time from that batch on. If a single image takes too long, the model has failed.

    Parameters
    ----------
    release
        The release that is predicted.
    index
        Rows of the release by task, in the order in which the model sees them.
    view_of
        Returns what the model may see of rows of the release.
    training
        Returns the rows that ``fit`` is given.
    kernel_shape
        Rows and columns of the predicted kernels, the central pixels of those of the release.
    batch_size
        Images per call of predict.
    progress
        Called after every batch.

    Attributes
    ----------
    stage
        ``import``, ``fit`` or ``predict``.
    n_predicted
        Number of images that are predicted.
    failure
        The reason why the model stopped, or None.
    fit_seconds, task_seconds
        Wall-clock seconds of fit, None without one, and of predict by task.
    non_finite
        Number of images by task whose predicted kernel has NaN or infinity.
    warnings
        One sentence each.
    """

    def __init__(
        self,
        release: Release,
        index: dict[str, NDArray[np.int32]],
        view_of: Callable[[NDArray[np.integer]], Batch],
        *,
        training: Callable[[], TrainingRows],
        kernel_shape: tuple[int, int],
        batch_size: int,
        progress: Progress | None,
    ) -> None:
        self._release, self._index, self._view_of, self._progress = release, index, view_of, progress
        self._training, self._kernel_shape = training, kernel_shape
        self._batch_size = batch_size
        self._task: str | None = None
        self._row: int | None = None
        self.stage = "import"
        self.n_predicted = 0
        self.failure: FailureRecord | None = None
        self.fit_seconds: float | None = None
        self.task_seconds = dict.fromkeys(index, 0.0)
        self.non_finite = dict.fromkeys(index, 0)
        self._latent_size: int | None = None
        self.warnings: list[str] = []

    def run(self, model: IsolatedModel, writer: PredictionsWriter) -> None:
        """Fit, then predict every image of every task."""
        self._fit(model)
        self.stage = "predict"
        together: list[tuple[str, int, dict[str, NDArray[Any]]]] = []
        total = sum(len(rows) for rows in self._index.values())
        for task, rows in self._index.items():
            # Any images will do, as they are shuffled; these are spread over the batches.
            again = np.linspace(0, len(rows) - 1, min(_ASKED_ALONE, math.ceil(len(rows) / 10)), dtype=int)
            row = 0
            while row < len(rows):
                self._task, self._row = task, row
                chosen = rows[row : row + self._batch_size]
                try:
                    prediction = self._predict(model, task, self._view_of(chosen))
                except ModelFailure as failure:
                    if failure.kind != "time limit" or len(chosen) == 1:
                        raise
                    self._go_on_one_by_one(model, len(chosen), failure)
                    continue
                writer.write(task, row, prediction)
                if len(chosen) > 1:
                    for place in np.intersect1d(again - row, np.arange(len(chosen))):
                        one = {name: array[[place]] for name, array in prediction.items()}
                        together.append((task, int(chosen[place]), one))
                row += len(chosen)
                self.n_predicted += len(chosen)
                if self._progress is not None:
                    self._progress(self.n_predicted, total)
        for task, image, prediction in together:
            if all(np.isfinite(array).all() for array in prediction.values()):
                try:
                    self._predict_alone(model, task, image, prediction)
                except ModelFailure as failure:  # every image has its prediction already
                    self.warnings.append(f"Image {image} of task '{task}' asked again, alone: {failure.message}.")
                    break
        if model.declaration.has_latents:
            self._encode_kernels(model, writer)
        if model.declaration.has_autoencoder:
            self._autoencode_kernels(model, writer)

    def failed(self, failure: ModelFailure) -> None:
        """Note why the model stopped, with the option that would help if it reached a limit."""
        stage = "fit" if self.stage == "fit" else "predict"
        remedy = _REMEDIES.get((stage, failure.kind))
        self.failure = FailureRecord(
            kind=failure.kind,
            stage="fit" if stage == "fit" else "predict",
            message=failure.message if remedy is None else f"{failure.message}; {remedy}",
            traceback=failure.traceback,
            task=None if stage == "fit" else self._task,
            row=None if stage == "fit" else self._row,
        )

    def _fit(self, model: IsolatedModel) -> None:
        if not model.declaration.has_fit:
            return
        former, self.stage = self.stage, "fit"
        started, before = time.monotonic(), self.fit_seconds or 0.0
        try:
            model.fit(self._training())
        finally:
            self.fit_seconds = before + time.monotonic() - started
        self.stage = former

    def _predict(self, model: IsolatedModel, task: str, batch: Batch) -> dict[str, NDArray[Any]]:
        started = time.monotonic()
        try:
            prediction = _stored(model.predict(batch), batch)
        finally:
            self.task_seconds[task] += time.monotonic() - started
        size = prediction["latent"].shape[1] if "latent" in prediction else self._latent_size
        if self._latent_size not in (None, size):
            raise ModelFailure(
                "prediction", f"predict returned a latent of {size} values, after {self._latent_size} before"
            )
        self._latent_size = size
        finite = np.isfinite(prediction["kernel"]).reshape(len(batch), -1).all(axis=1)
        self.non_finite[task] += int((~finite).sum())
        return prediction

    def _go_on_one_by_one(self, model: IsolatedModel, count: int, failure: ModelFailure) -> None:
        self._batch_size = 1
        self.warnings.append(
            f"{failure.message} for {count} images. The model was started anew and given one image at a time from row"
            f" {self._row} of task '{self._task}' on; choose a smaller --batch-size, or allow more with --time-limit."
        )
        model.restart()
        self._fit(model)

    def _predict_alone(self, model: IsolatedModel, task: str, image: int, together: dict[str, NDArray[Any]]) -> None:
        batch = self._view_of(np.array([image]))
        alone = _stored(model.predict(batch), batch)
        problem = difference(together, alone, "when it is asked alone")
        if problem is not None:
            self.warnings.append(
                f"The prediction for image {image} of task '{task}' depends on the other images of its batch, or on"
                f" chance: {problem}."
            )

    def _encode_kernels(self, model: IsolatedModel, writer: PredictionsWriter) -> None:
        if model.ended:
            self.warnings.append("The kernels have no latents: the model had ended before its encode_kernel.")
            return
        kernels = central_pixels(self._release.kernels.image, self._kernel_shape)
        blocks = [kernels[at : at + self._batch_size] for at in range(0, len(kernels), self._batch_size)]
        try:
            latents = [model.encode_kernel(block).astype(np.float32) for block in blocks]
        except ModelFailure as failure:  # every image has its prediction already
            self.warnings.append(f"The kernels have no latents: {failure.message}.")
            return
        sizes = {part.shape[1] for part in latents} | ({self._latent_size} if self._latent_size else set())
        if len(sizes) > 1:
            listed = ", ".join(map(str, sorted(sizes)))
            self.warnings.append(f"The kernels have no latents: those of images and kernels differ in size, {listed}.")
            return
        writer.write_kernel_latents(np.concatenate(latents))

    def _autoencode_kernels(self, model: IsolatedModel, writer: PredictionsWriter) -> None:
        """Write what the model's own autoencoder makes of the true kernels of the predicted images."""
        if model.ended:
            self.warnings.append("The predictions have no floor: the model had ended before its autoencode.")
            return
        kernels = central_pixels(self._release.kernels.image, self._kernel_shape)
        shown = np.unique(self._release.observation_kernel[np.concatenate(list(self._index.values()))])
        decoded = np.full(kernels.shape, np.nan, dtype=np.float32)
        try:
            for at in range(0, len(shown), self._batch_size):
                rows = shown[at : at + self._batch_size]
                decoded[rows] = _float32(model.autoencode(kernels[rows]))
        except ModelFailure as failure:  # every image has its prediction already
            self.warnings.append(f"The predictions have no floor: {failure.message}.")
            return
        wrong = int((~np.isfinite(decoded[shown]).all(axis=(1, 2))).sum())
        if wrong:
            self.warnings.append(
                f"The predictions have no floor: autoencode returned NaN or infinity for {wrong} of {len(shown)}"
                " kernels."
            )
            return
        writer.write_autoencoded(decoded)


def _stored(prediction: dict[str, NDArray[Any]], batch: Batch) -> dict[str, NDArray[Any]]:
    stored: dict[str, NDArray[Any]] = {name: _float32(array) for name, array in prediction.items() if name in DATASETS}
    # Which scatterer is of which species is only asked where there are two.
    return stored | {name: array for name, array in prediction.items() if name == SPECIES and batch.species_count > 1}


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a value too large for float32 becomes infinity and counts as not finite
        return array.astype(np.float32)


def training_role(release: Release) -> NDArray[np.int32]:
    """Return the rows that every task allows to train on, so that one fit serves all tasks."""
    return reduce(np.intersect1d, [release.split(task, "train") for task in release.tasks])


def training_rows(release: Release, view_of: Callable[[NDArray[np.integer]], Batch], kernel_grid: Grid) -> TrainingRows:
    """Return the source of the rows that fit(train) is given, with the kernels on ``kernel_grid``."""
    rows = training_role(release)
    kernels, kernel_index = np.unique(release.observation_kernel[rows], return_inverse=True)
    return TrainingRows(
        kernels=central_pixels(release.kernels.image[kernels], kernel_grid.shape),
        kernel_index=kernel_index.astype(np.int32),
        grid=release.grid,
        kernel_grid=kernel_grid,
        batch=lambda chosen: view_of(rows[chosen]),
    )
