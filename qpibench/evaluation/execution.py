"""How a model is run: batch size, threads, seed and limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from qpibench.errors import UsageError
from qpibench.evaluation.isolation.isolated import Limits
from qpibench.grid import Grid

MAX_BATCH_SIZE = 32
"""Default number of images per call of predict, for images of up to 128 x 128 pixels."""

_MAX_BATCH_PIXELS = MAX_BATCH_SIZE * 128 * 128


def default_batch_size(grid: Grid) -> int:
    """Return the number of images per call of predict for images of this grid.

    It is 32 up to 128 x 128 pixels. Larger images come in smaller batches of about the same number of pixels: 8 images
    of 256 x 256, 2 of 512 x 512, single images from there on.
    """
    return min(MAX_BATCH_SIZE, max(1, _MAX_BATCH_PIXELS // (grid.ny * grid.nx)))


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a model is run.

    Attributes
    ----------
    batch_size
        Images per call of predict; None for :func:`default_batch_size`.
    threads
        Threads of the numerical libraries in the model's process. A sum over several threads may round in another
        order, so predictions are recomputed with the number that they were made with.
    seed
        Seed of the random number generators in the model's process.
    limits
        Limits on time and memory.

    Raises
    ------
    UsageError
        If a number is out of range.
    """

    batch_size: int | None = None
    threads: int = 1
    seed: int = 0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        numbers = {
            "batch size": 1 if self.batch_size is None else self.batch_size,
            "number of threads": self.threads,
            "time limit": self.limits.batch_s,
            "time limit of fit": self.limits.fit_s,
            "memory limit": self.limits.memory_gib,
        }
        for name, number in numbers.items():
            if not number > 0:
                raise UsageError(f"The {name} must be larger than 0, found {number}.")
        if self.seed < 0:
            raise UsageError(f"The seed must not be negative, found {self.seed}.")


DEFAULT_EXECUTION = Execution()
