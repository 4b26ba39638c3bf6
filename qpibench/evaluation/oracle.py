"""Oracles: predictions made from the true kernels, as a yardstick for models.

The nearest training kernel bounds every model that only recognises its training kernels. On ``id``, where the test
kernels are training kernels, its error is 0. On ``ood`` its error is the best that memorising can reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import UsageError
from qpibench.evaluation.environment import environment
from qpibench.evaluation.prediction_record import Record
from qpibench.evaluation.predictions_writer import PredictionsWriter
from qpibench.evaluation.result import ORACLE, ORACLE_VIEW, ModelRecord, Run
from qpibench.tasks import asking_order
from qpibench.tasks.species import require_one_species

if TYPE_CHECKING:
    from qpibench.release import Release

_BLOCK = 256  # images or kernels at once

Progress = Callable[[int, int], None]


def nearest_kernel(
    release: Release,
    path: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Record:
    """Predict for every test image the training kernel nearest to the true kernel, and write a predictions file.

    The nearest kernel has the least relative L2 error in native units; of equal errors the first kernel wins. The
    training kernels are the kernels of the images in the task's training role.

    Parameters
    ----------
    release
        The release.
    path
        The predictions file, which appears when it is complete.
    tasks
        Names of tasks; all that the release has if not given.
    limit
        Number of images per task, chosen by :func:`~qpibench.tasks.subset`; all of them if not given.
    progress
        Called with the number of images predicted and their total.

    Returns
    -------
    Record
        The record in the file: a model that knows :data:`~qpibench.evaluation.result.ORACLE`.

    Raises
    ------
    UsageError
        If the release has two species of scatterers, no such task, no test role, or no image in the training role of a
        task, or the file cannot be written there.
    InvalidDataError
        If the release is damaged; see :meth:`~qpibench.release.Release.check`.
    """
    started = time.monotonic()
    require_one_species(release, what="Predicting")
    release.check()
    asked = list(dict.fromkeys(tasks or release.tasks))
    if not asked:
        raise UsageError(f"Release '{release.name}' has no test images, so there is nothing to predict.")
    index = {task: asking_order(release, task, limit) for task in asked}
    nearest = {task: _nearest_to_each(release, task, rows) for task, rows in index.items()}
    done, total = 0, sum(len(rows) for rows in index.values())
    with PredictionsWriter(path, release_sha256=release.content_sha256, index=index, grid=release.grid) as writer:
        for task, kernels in nearest.items():
            for row in range(0, len(kernels), _BLOCK):
                chosen = kernels[row : row + _BLOCK]
                writer.write(task, row, {"kernel": release.kernels.image[chosen]})
                done += len(chosen)
                if progress is not None:
                    progress(done, total)
        record = _record(limit, time.monotonic() - started)
        writer.finish(record)
    return record


def _nearest_to_each(release: Release, task: str, rows: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return the index of the training kernel nearest to the true kernel of each image, (image,)."""
    training = np.unique(release.observation_kernel[release.split(task, "train")])
    if not len(training):
        raise UsageError(f"The training role of task '{task}' of release '{release.name}' is empty; it has no kernels.")
    truths, place = np.unique(release.observation_kernel[rows], return_inverse=True)
    nearest = [training[_nearest(release.kernels.image[truth], release.kernels.image[training])] for truth in truths]
    return np.asarray(nearest, dtype=np.intp)[place]


def _nearest(truth: NDArray[np.float32], kernels: NDArray[np.float32]) -> np.intp:
    """Return which of (kernel, y, x) has the least L2 distance from (y, x); dividing by a norm changes no order."""
    blocks = [kernels[at : at + _BLOCK].astype(np.float64) for at in range(0, len(kernels), _BLOCK)]
    return np.argmin(np.concatenate([((block - truth) ** 2).sum(axis=(1, 2)) for block in blocks]))


def _record(limit: int | None, seconds: float) -> Record:
    return Record(
        model=ModelRecord(
            name="nearest_kernel",
            file_sha256=None,
            weights={},
            knows=(ORACLE,),
            needs=(),
            trained_on=("the release's training role",),
        ),
        view=ORACLE_VIEW,
        map_mode=None,
        limit=limit,
        seed=0,
        batch_size=_BLOCK,
        failure=None,
        non_finite={},
        fit_seconds=None,
        task_seconds={},
        run=Run(seconds=seconds, peak_memory_bytes=None, environment=environment()),
    )
