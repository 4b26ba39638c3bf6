"""A model that is asked for rows of a release: what a course calls, and the model in a process of this machine."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import reduce
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.environment import environment
from qpibench.evaluation.isolation.declaration import Declaration
from qpibench.evaluation.isolation.failure import ModelFailure
from qpibench.evaluation.isolation.isolated import IsolatedModel, TrainingRows
from qpibench.evaluation.predictions import DATASETS, SPECIES, as_stored
from qpibench.grid import central_pixels
from qpibench.tasks import Batch

if TYPE_CHECKING:
    from qpibench.evaluation.predict import Request
    from qpibench.release import Release


class Answers(Protocol):
    """A model that is asked for rows of one release; a context manager, within which the model can be called.

    Every method raises ModelFailure if the model fails.

    Attributes
    ----------
    seconds
        Wall-clock seconds of the model's last fit or predict, also if it failed.
    """

    seconds: float

    @property
    def declaration(self) -> Declaration:
        """The model's declarations."""

    @property
    def ended(self) -> bool:
        """Whether a failure has ended the model, so that it cannot be called any more."""

    @property
    def peak_memory_bytes(self) -> int:
        """Largest observed resident memory of the model, in bytes."""

    @property
    def environment(self) -> dict[str, str]:
        """Description of the machine and the software where the model runs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def expect(self, batches: Sequence[NDArray[np.integer]]) -> None:
        """Take note of the rows that are asked next, a batch each, in place of those that were to be asked."""

    def fit(self) -> None:
        """Call the model's fit."""

    def restart(self) -> None:
        """Start the model anew; the state learned by fit is lost."""

    def predict(self, rows: NDArray[np.integer]) -> dict[str, NDArray[Any]]:
        """Return the arrays of a predictions file for a batch of rows, by name."""

    def encode_kernels(self, batch_size: int) -> NDArray[np.float32]:
        """Return the latents (kernel, d) of the kernels of the release; the model must not predict afterwards."""

    def autoencode_kernels(self, chosen: NDArray[np.integer], batch_size: int) -> NDArray[np.float32]:
        """Return kernels of the release, encoded and decoded by the model; the model must not predict afterwards.

        Parameters
        ----------
        chosen
            The kernels; the others have NaN.
        batch_size
            Kernels per call.

        Returns
        -------
        ndarray
            (kernel, y, x), a row for every kernel of the release.
        """


class IsolatedAnswers:
    """A model in a process of this machine, as :class:`Answers`.

    Before each call, except that of fit, the global generators of random numbers in the model's process are seeded from
    the seed and the images of the call. What a model draws then does not depend on the calls before.

    Parameters
    ----------
    model
        The model. The context of this object is that of the model.
    release
        The release that is predicted.
    request
        The inputs that the model is shown, and the kernels that are asked.
    seed
        Seed of the random number generators.
    """

    def __init__(self, model: IsolatedModel, release: Release, request: Request, *, seed: int) -> None:
        self._model, self._release, self._request, self._seed = model, release, request, seed
        self._view_of, self._kernel_shape = request.view_of(release), request.kernel_grid(release).shape
        self.seconds = 0.0

    @property
    def declaration(self) -> Declaration:
        """The model's declarations."""
        return self._model.declaration

    @property
    def ended(self) -> bool:
        """Whether a failure has ended the model."""
        return self._model.ended

    @property
    def peak_memory_bytes(self) -> int:
        """Largest observed resident memory of the model, in bytes."""
        return self._model.peak_memory_bytes

    @property
    def environment(self) -> dict[str, str]:
        """Description of this machine and its software."""
        return environment()

    def __enter__(self) -> Self:
        self._model.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._model.__exit__(kind, error, traceback)

    def expect(self, batches: Sequence[NDArray[np.integer]]) -> None:
        """Do nothing: a batch is predicted when it is asked."""

    def fit(self) -> None:
        """Call the model's fit."""
        rows, started = _training_rows(self._request.training or self._release, self._request), time.monotonic()
        try:
            self._model.fit(rows)
        finally:
            self.seconds = time.monotonic() - started

    def restart(self) -> None:
        """Start the model anew; the state learned by fit is lost."""
        self._model.restart()

    def predict(self, rows: NDArray[np.integer]) -> dict[str, NDArray[Any]]:
        """Return the arrays of a predictions file for a batch of rows, by name."""
        batch, started = self._view_of(rows), time.monotonic()
        try:
            return _stored(self._model.predict(batch, seed=self._seed_of(batch.image)), batch)
        finally:
            self.seconds = time.monotonic() - started

    def encode_kernels(self, batch_size: int) -> NDArray[np.float32]:
        """Return the latents (kernel, d) of the kernels of the release."""
        kernels = self._kernels()
        blocks = [kernels[at : at + batch_size] for at in range(0, len(kernels), batch_size)]
        latents = [self._model.encode_kernel(block, seed=self._seed_of(block)).astype(np.float32) for block in blocks]
        sizes = {part.shape[1] for part in latents}
        if len(sizes) > 1:
            listed = ", ".join(map(str, sorted(sizes)))
            raise ModelFailure("prediction", f"encode_kernel returned latents of several sizes, {listed}")
        return np.concatenate(latents)

    def autoencode_kernels(self, chosen: NDArray[np.integer], batch_size: int) -> NDArray[np.float32]:
        """Return the chosen kernels (kernel, y, x), encoded and decoded by the model."""
        kernels = self._kernels()
        decoded = np.full(kernels.shape, np.nan, dtype=np.float32)
        for at in range(0, len(chosen), batch_size):
            rows = chosen[at : at + batch_size]
            decoded[rows] = as_stored(self._model.autoencode(kernels[rows], seed=self._seed_of(kernels[rows])))
        return decoded

    def _seed_of(self, images: NDArray[np.float32]) -> int:
        digest = hashlib.sha256(f"{self._seed}\n".encode())
        digest.update(np.ascontiguousarray(images).reshape(-1).view(np.uint8).data)
        return int.from_bytes(digest.digest()[:8], "little")

    def _kernels(self) -> NDArray[np.float32]:
        return central_pixels(self._release.kernels.image, self._kernel_shape)


def _stored(prediction: dict[str, NDArray[Any]], batch: Batch) -> dict[str, NDArray[Any]]:
    stored: dict[str, NDArray[Any]] = {name: as_stored(array) for name, array in prediction.items() if name in DATASETS}
    # Which scatterer is of which species is only asked where there are two.
    return stored | {name: array for name, array in prediction.items() if name == SPECIES and batch.species_count > 1}


def training_role(release: Release) -> NDArray[np.int32]:
    """Return the rows that every task allows to train on, so that one fit serves all tasks."""
    return reduce(np.intersect1d, [release.split(task, "train") for task in release.tasks])


def _training_rows(release: Release, request: Request) -> TrainingRows:
    """Return the source of the rows that fit(train) is given."""
    view_of, kernel_grid = request.view_of(release), request.kernel_grid(release)
    rows = training_role(release)
    kernels, kernel_index = np.unique(release.observation_kernel[rows], return_inverse=True)
    return TrainingRows(
        kernels=central_pixels(release.kernels.image[kernels], kernel_grid.shape),
        kernel_index=kernel_index.astype(np.int32),
        grid=release.grid,
        kernel_grid=kernel_grid,
        batch=lambda chosen: view_of(rows[chosen]),
    )
