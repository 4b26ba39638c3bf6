"""Sources of training batches with one interface: a release file, or an endless stream of fresh draws.

A batch is a pure function of the run's seed and of the step, so a resumed run gets the same batches as an uninterrupted
one. With several processes each process gets its own rows of the same batch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Literal, Protocol

from learned.batches import Batch
from learned.release_source import ReleaseSource
from learned.stream_source import StreamSource
from qpibench.errors import UsageError
from qpibench.physics.activation import check_map_mode
from qpibench.release import open_release
from qpibench.specs import Grid
from qpibench.training import SourceRecord, TrainingRun

__all__ = ["Batch", "Source", "open_source"]  # entries import these


class Source(Protocol):
    """Training and validation batches: dictionaries of tensors whose first axis is the batch.

    Attributes
    ----------
    record
        Identity of the images, for the run's record.
    grid
        Grid of images and kernels.
    batch_size
        Images per batch, of all processes together.
    steps_per_epoch
        Number of steps that show every training image once (with ``unit="kernel"`` every training kernel). A stream
        never repeats an image; its epoch is as long as that of a release of the spec.
    """

    record: SourceRecord
    grid: Grid
    batch_size: int
    steps_per_epoch: int

    def batch(self, step: int) -> Batch:
        """Return this process's rows of a step's batch; steps may be asked for in any order and from any thread."""

    def ahead(self, start: int) -> Generator[Batch, None, None]:
        """Yield the batches from a step on, without end, prepared by background threads until close() is called."""

    def validation(self) -> Sequence[Batch]:
        """Return batches of at most 512 images that are never trained on: always the same, spread over the kernels."""


def open_source(
    run: TrainingRun,
    *,
    fields: Sequence[str],
    batch_size: int,
    map_mode: str | None = None,
    images_per_kernel: int | None = None,
    unit: Literal["image", "kernel"] = "image",
) -> Source:
    """Open the training images of a run.

    Parameters
    ----------
    run
        The request. Its seed determines the order of a release's images, or the images of a stream.
    fields
        Fields of a batch: some of :data:`learned.release_source.RELEASE_FIELDS` and of the kernels' parameters.
    batch_size
        Images per batch, of all processes together.
    map_mode
        How scatterers are rasterised, ``"exact"`` or ``"paper"``; see
        :func:`qpibench.physics.activation.activation_map`. The field ``activation_map`` needs it.
    images_per_kernel
        Greatest number of images used per kernel; None for all. In a stream every image has its own kernel, and this
        number only shortens the epoch.
    unit
        ``"image"``: an epoch shows every image once. ``"kernel"``: it shows every kernel once.

    Raises
    ------
    UsageError
        If the release has no training or no validation role, or an option is not valid.
    InvalidDataError
        If the file is not a release.
    """
    check_map_mode(map_mode, fields)
    if batch_size < 1:
        raise UsageError(f"batch_size must be 1 or more, found {batch_size}.")
    per_kernel = 1 if unit == "kernel" else images_per_kernel
    if per_kernel is not None and per_kernel < 1:
        raise UsageError(f"images_per_kernel must be 1 or more, found {per_kernel}.")
    if run.spec is not None:
        return StreamSource(
            run.spec,
            seed=run.seed,
            fields=tuple(fields),
            batch_size=batch_size,
            map_mode=map_mode,
            images_per_kernel=per_kernel,
        )
    if run.release_path is None:
        raise UsageError("Training needs one source of images: either a release or the spec of a stream.")
    return ReleaseSource(
        open_release(run.release_path),
        seed=run.seed,
        fields=tuple(fields),
        batch_size=batch_size,
        map_mode=map_mode,
        images_per_kernel=per_kernel,
    )
