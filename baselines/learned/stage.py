"""Stages of a training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from learned.source import Batch, Source
from qpibench.training import TrainingRun


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
        Steps between validations; None for a fiftieth of the budget, but at least 100. A validation always follows
        the last step.
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

    @property
    def validation_interval(self) -> int:
        """Steps between validations."""
        return self.validate_every or max(self.budget // 50, 100)

    @property
    def logging_interval(self) -> int:
        """Steps between lines of the log, which has about two thousand lines per stage."""
        return max(self.budget // 2000, 1)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        every, factor = self.decay or (1, 1.0)
        return self.learning_rate * factor ** (step // every)


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
