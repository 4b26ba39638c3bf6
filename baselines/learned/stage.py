"""Stages of a training run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from learned.source import Batch, Source
from qpibench.training import TrainingRun

VALIDATION_SHARE = 0.03
"""Largest share of a new run's time that validations take, for the costs that the stages state."""

LEAST_IMAGES = 64
"""Number of validation images below which a shorter stage has fewer validations, not smaller ones."""

MANY_VALIDATIONS = 10
"""Number of validations below which a shorter stage has smaller validations, not fewer ones."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a training run: its loss, its images and its length.

    Attributes
    ----------
    name
        Name in the log and in messages.
    module
        ``module(batch)`` returns a dictionary. Its ``"loss"`` is minimised, its other scalars are logged. The trained
        parameters are those with ``requires_grad``; ``net`` of :func:`learned.loop.fit` must contain them.
    score
        ``score(batch)`` returns the validation error of every sample, (n,); less is better. It is called in evaluation
        mode, without gradients.
    source
        Source of the batches for both; the batches are moved to the device of the module.
    steps
        Number of steps in the recipe.
    budget
        Number of steps of this run, often fewer; see :func:`split_budget`.
    learning_rate
        Learning rate of Adam at the first step.
    decay
        (k, factor): every k steps the learning rate is multiplied by the factor.
    clip_norm
        Largest norm of all gradients together; None for no limit.
    patience
        Number of validations in a row without improvement after which the stage ends; None for no early stopping.
    validate_every
        Steps between validations of all images; None to derive both from the budget. A validation always follows the
        last step.
    score_cost
        Time to score one image over the time that a step takes per image, rounded up.
    validation_share
        Largest share of the steps' time that validations may take; None for runs that began before there was a limit:
        they validate on all images after every fiftieth of the budget.
    """

    name: str
    module: nn.Module
    score: Callable[[Batch], Tensor]
    source: Source
    steps: int
    budget: int
    learning_rate: float
    decay: tuple[int, float] | None = None
    clip_norm: float | None = None
    patience: int | None = None
    validate_every: int | None = None
    score_cost: float = 2.0
    validation_share: float | None = VALIDATION_SHARE

    @cached_property
    def validation_batches(self) -> Sequence[Batch]:
        """Batches of every validation: the first of the source's, which are spread over the kernels."""
        batches = self.source.validation()
        if self._images_affordable is None:
            return batches
        wanted, used, images = max(self._images_affordable // MANY_VALIDATIONS, LEAST_IMAGES), 0, 0
        while used < len(batches) and images < wanted:
            images += _length(batches[used])
            used += 1
        return batches[:used]

    @cached_property
    def validation_interval(self) -> int:
        """Steps between validations."""
        if self.validate_every is not None:
            return self.validate_every
        shortest = max(self.budget // 50, 100)
        if self._images_affordable is None:
            return shortest
        validations = self._images_affordable // sum(map(_length, self.validation_batches))
        return max(math.ceil(self.budget / max(validations, 1)), shortest)

    @property
    def _images_affordable(self) -> int | None:
        """Number of images that all validations together may score; None for no limit."""
        if self.validate_every is not None or self.validation_share is None:
            return None
        return int(self.validation_share * self.budget * self.source.batch_size / self.score_cost)

    @property
    def logging_interval(self) -> int:
        """Steps between lines of the log, which has about two thousand lines per stage."""
        return max(self.budget // 2000, 1)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        every, factor = self.decay or (1, 1.0)
        return self.learning_rate * factor ** (step // every)


def _length(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def split_budget(run: TrainingRun, steps: Sequence[int]) -> tuple[int, ...]:
    """Divide the allowed steps of a run among its stages, in proportion to the steps in the recipe.

    Parameters
    ----------
    run
        The request. If ``run.steps`` is None or larger than the recipe's total, every stage gets its own number.
    steps
        Steps of every stage in the recipe.
    """
    stated = sum(steps)
    allowed = min(run.steps or stated, stated)
    ends = [allowed * sum(steps[: place + 1]) // stated for place in range(len(steps))]
    return tuple(end - start for start, end in zip([0, *ends], ends, strict=False))
