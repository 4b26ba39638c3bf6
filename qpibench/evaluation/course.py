"""Runs a model through a request: fit, every batch of every task, a second try one by one, latents and floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.agreement import difference
from qpibench.evaluation.answers import Answers
from qpibench.evaluation.isolation.failure import ModelFailure
from qpibench.evaluation.prediction_record import FailureRecord
from qpibench.evaluation.predictions_writer import PredictionsWriter

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
        index: Mapping[str, NDArray[np.int32]],
        *,
        batch_size: int,
        progress: Progress | None,
    ) -> None:
        self._release, self._index, self._progress = release, index, progress
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

    def run(self, answers: Answers, writer: PredictionsWriter) -> None:
        """Fit, then predict every image of every task."""
        answers.expect(batches(self._index, self._batch_size))
        self._fit(answers)
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
                    prediction = self._predict(answers, task, chosen)
                except ModelFailure as failure:
                    if failure.kind != "time limit" or len(chosen) == 1:
                        raise
                    self._go_on_one_by_one(answers, task, row, failure)
                    continue
                writer.write(task, row, prediction)
                if len(chosen) > 1:
                    for place in np.intersect1d(again - row, np.arange(len(chosen))):
                        one = {name: array[[place]] for name, array in prediction.items()}
                        if all(np.isfinite(array).all() for array in one.values()):
                            together.append((task, int(chosen[place]), one))
                row += len(chosen)
                self.n_predicted += len(chosen)
                if self._progress is not None:
                    self._progress(self.n_predicted, total)
        answers.expect([np.array([image]) for _, image, _ in together])
        for task, image, prediction in together:
            try:
                self._predict_alone(answers, task, image, prediction)
            except ModelFailure as failure:  # every image has its prediction already
                self.warnings.append(f"Image {image} of task '{task}' asked again, alone: {failure.message}.")
                break
        if answers.declaration.has_latents:
            self._encode_kernels(answers, writer)
        if answers.declaration.has_autoencoder:
            self._autoencode_kernels(answers, writer)

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

    def _fit(self, answers: Answers) -> None:
        if not answers.declaration.has_fit:
            return
        former, self.stage = self.stage, "fit"
        try:
            answers.fit()
        finally:
            self.fit_seconds = (self.fit_seconds or 0.0) + answers.seconds
        self.stage = former

    def _predict(self, answers: Answers, task: str, rows: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
        try:
            prediction = answers.predict(rows)
        finally:
            self.task_seconds[task] += answers.seconds
        size = prediction["latent"].shape[1] if "latent" in prediction else self._latent_size
        if self._latent_size not in (None, size):
            raise ModelFailure(
                "prediction", f"predict returned a latent of {size} values, after {self._latent_size} before"
            )
        self._latent_size = size
        finite = np.isfinite(prediction["kernel"]).reshape(len(rows), -1).all(axis=1)
        self.non_finite[task] += int((~finite).sum())
        return prediction

    def _go_on_one_by_one(self, answers: Answers, task: str, row: int, failure: ModelFailure) -> None:
        count = len(self._index[task][row : row + self._batch_size])
        self._batch_size = 1
        self.warnings.append(
            f"{failure.message}, for {count} images. The model was started anew and given one image at a time from row"
            f" {row} of task '{task}' on; choose a smaller --batch-size, or allow more with --time-limit."
        )
        tasks = list(self._index)
        left = {name: self._index[name] for name in tasks[tasks.index(task) :]}
        answers.restart()
        answers.expect(batches(left | {task: left[task][row:]}, 1))
        self._fit(answers)

    def _predict_alone(self, answers: Answers, task: str, image: int, together: dict[str, NDArray[Any]]) -> None:
        problem = difference(together, answers.predict(np.array([image])), "when it is asked alone")
        if problem is not None:
            self.warnings.append(
                f"The prediction for image {image} of task '{task}' depends on the other images of its batch, or on"
                f" chance: {problem}."
            )

    def _encode_kernels(self, answers: Answers, writer: PredictionsWriter) -> None:
        if answers.ended:
            self.warnings.append("The kernels have no latents: the model had ended before its encode_kernel.")
            return
        try:
            latents = answers.encode_kernels(self._batch_size)
        except ModelFailure as failure:  # every image has its prediction already
            self.warnings.append(f"The kernels have no latents: {failure.message}.")
            return
        if self._latent_size not in (None, latents.shape[1]):
            listed = ", ".join(map(str, sorted((self._latent_size, latents.shape[1]))))
            self.warnings.append(f"The kernels have no latents: those of images and kernels differ in size, {listed}.")
            return
        writer.write_kernel_latents(latents)

    def _autoencode_kernels(self, answers: Answers, writer: PredictionsWriter) -> None:
        """Write what the model's own autoencoder makes of the true kernels of the predicted images."""
        if answers.ended:
            self.warnings.append("The predictions have no floor: the model had ended before its autoencode.")
            return
        shown = np.unique(self._release.observation_kernel[np.concatenate(list(self._index.values()))])
        try:
            decoded = answers.autoencode_kernels(shown, self._batch_size)
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


def batches(index: Mapping[str, NDArray[np.int32]], batch_size: int) -> list[NDArray[np.int32]]:
    """Return the rows of all tasks in the order in which they are asked, divided into batches of one task each."""
    return [rows[at : at + batch_size] for rows in index.values() for at in range(0, len(rows), batch_size)]
