"""Where training batches come from: a release file or an endless stream of fresh draws, behind one interface.

A batch is a pure function of the run's seed and of the step, so a run that stopped after step k goes on with step k as
if nothing had happened. With several processes each gets its own rows of the same batch.
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

__all__ = ["Batch", "Source", "open_source"]  # what entries import


class Source(Protocol):
    """Training and validation batches: dictionaries of tensors whose first axis is the batch.

    Attributes
    ----------
    record
        Which images these are, for the run's record.
    grid
        Grid of images and kernels.
    batch_size
        Images in a batch, of all processes together.
    steps_per_epoch
        Steps in which every training image (with ``unit="kernel"``: every training kernel) is shown once. A stream
        never shows one twice; its epoch is as long as that of a release of the spec.
    """

    record: SourceRecord
    grid: Grid
    batch_size: int
    steps_per_epoch: int

    def batch(self, step: int) -> Batch:
        """The batch of a step, this process's rows of it; any step, in any order, from any thread."""

    def ahead(self, start: int) -> Generator[Batch, None, None]:
        """Batches without end from a step on, prepared in the background; close() ends it."""

    def validation(self) -> Sequence[Batch]:
        """At most 512 images that are never trained on, always the same, spread over the kernels."""


def open_source(
    run: TrainingRun,
    *,
    fields: Sequence[str],
    batch_size: int,
    map_mode: str | None = None,
    images_per_kernel: int | None = None,
    unit: Literal["image", "kernel"] = "image",
) -> Source:
    """Open what a run trains on.

    Parameters
    ----------
    run
        The request; its seed orders the images of a release and chooses those of a stream.
    fields
        What a batch contains, of :data:`learned.release_source.RELEASE_FIELDS` and the columns of the kernels.
    batch_size
        Images in a batch, of all processes together.
    map_mode
        How scatterers are rasterised, ``"exact"`` or ``"paper"``; see
        :func:`qpibench.physics.activation.activation_map`. The field ``activation_map`` needs it.
    images_per_kernel
        Use at most so many images of each kernel; all if None. In a stream, where every image has a kernel of its own,
        it only shortens the epoch.
    unit
        ``"image"``, or ``"kernel"``: every row shows another kernel, and an epoch shows each once.

    Raises
    ------
    UsageError
        If the release lacks the training or validation role, or an option is not valid.
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
