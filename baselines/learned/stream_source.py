"""Training batches of fresh draws of a spec, from the training domain of its seed, which test images never use."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Generator, Sequence
from functools import cached_property, partial

import torch

from learned.batches import VALIDATION_BATCH, VALIDATION_IMAGES, Batch, batches_ahead, rows_of_this_process
from qpibench.errors import UnavailableError, UsageError
from qpibench.processors import processors
from qpibench.specs import ReleaseSpec
from qpibench.synthesis import get_backend
from qpibench.synthesis.torch_stream import stream
from qpibench.training import SourceRecord

SEED_LIMIT = 2**20
"""Number of seeds of runs on a stream; each seed has its own part of the sequence of images."""

_IMAGES_PER_SEED = 2**41
_FIRST_VALIDATION_IMAGE = 2**62


class StreamSource:
    """Source of fresh draws of a spec, made on the GPU if this process has one for itself.

    The interface is :class:`learned.source.Source`; the parameters are those of :func:`learned.source.open_source`.
    """

    def __init__(
        self,
        spec: ReleaseSpec,
        *,
        seed: int,
        fields: tuple[str, ...],
        batch_size: int,
        map_mode: str | None,
        images_per_kernel: int | None,
    ) -> None:
        if seed >= SEED_LIMIT:
            raise UsageError(f"Training on a stream takes a seed below {SEED_LIMIT:,}, found {seed}.")
        self.batch_size, self.grid = batch_size, spec.grid
        part = rows_of_this_process(batch_size)
        size = part.stop - part.start
        device = _stream_device(alone=size == batch_size)
        draw = partial(stream, spec, fields=fields, map_mode=map_mode)
        self._trained_on = draw(device=device, batch_size=size)
        self._held_out = draw(device="cpu", batch_size=VALIDATION_BATCH)
        # Batches are counted in this process's size; a step of all processes takes batch_size // size of them.
        self._parts, self._part = batch_size // size, part.start // size
        self._first_step = seed * _IMAGES_PER_SEED // batch_size
        self._on_gpu = device == "cuda"
        self.record = SourceRecord(kind="stream", name=spec.name, spec_sha256=spec.sha256, content_sha256=None)
        splits, kernels = spec.splits, spec.kernels.count * (1 - spec.splits.ood_kernels)
        each = spec.observations_per_kernel * (1 - splits.id_test) * (1 - splits.validation)
        images = round(kernels * min(each, images_per_kernel or each))
        self.steps_per_epoch = max(1, -(-images // batch_size))

    def batch(self, step: int) -> Batch:
        return self._trained_on.batch((self._first_step + step) * self._parts + self._part)

    def ahead(self, start: int) -> Generator[Batch, None, None]:
        if self._on_gpu:  # the GPU stream prepares batches ahead by itself
            return (self.batch(step) for step in itertools.count(start))
        return batches_ahead(self.batch, start, threads=max(1, processors() - 1) if torch.cuda.is_available() else 1)

    def validation(self) -> Sequence[Batch]:
        return self._validation_batches

    @cached_property
    def _validation_batches(self) -> Sequence[Batch]:
        first = _FIRST_VALIDATION_IMAGE // VALIDATION_BATCH
        return [self._held_out.batch(first + place) for place in range(VALIDATION_IMAGES // VALIDATION_BATCH)]


def _stream_device(*, alone: bool) -> str:
    if not (alone and torch.cuda.is_available()):
        return "cpu"
    try:
        get_backend("cuda")
    except UnavailableError as error:
        print(f"Training images are made on the CPU: {error}", file=sys.stderr)
        return "cpu"
    return "cuda"
