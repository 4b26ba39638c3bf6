"""Training batches: their type, the rows for each process, and their preparation in background threads."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator

import torch
from torch import Tensor

from qpibench.errors import UsageError
from qpibench.synthesis.stream import ahead

Batch = dict[str, Tensor]
"""Fields by name; the first axis of every tensor is the batch."""

VALIDATION_IMAGES = 512
VALIDATION_BATCH = 32


def batches_ahead(batch: Callable[[int], Batch], start: int, *, threads: int = 1) -> Generator[Batch, None, None]:
    """Yield the batches of the steps from ``start`` on, without end; at most ``threads + 1`` are prepared ahead.

    With a GPU the batches are put into pinned memory, from which they are copied while the GPU computes.
    """
    return ahead(_pinned(batch) if torch.cuda.is_available() else batch, itertools.count(start), threads=threads)


def _pinned(batch: Callable[[int], Batch]) -> Callable[[int], Batch]:
    device = torch.cuda.current_device()

    def pinned(step: int) -> Batch:
        with torch.cuda.device(device):  # a new thread starts with the first device
            return {field: tensor.pin_memory() for field, tensor in batch(step).items()}

    return pinned


def rows_of_this_process(batch_size: int) -> slice:
    """Return the rows of a batch that this process trains on, by the variables ``WORLD_SIZE`` and ``RANK``.

    Raises
    ------
    UsageError
        If the batch cannot be divided evenly among the processes.
    """
    count, place = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0")))
    if batch_size % count:
        raise UsageError(
            f"A batch of {batch_size} cannot be shared among {count} processes; use a multiple of {count}."
        )
    return slice(place * batch_size // count, (place + 1) * batch_size // count)
