"""The parts that a training consists of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from learned.source import Batch, Source
from qpibench.training import TrainingRun


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of a training: what is minimised, on which images, for how long.

    Attributes
    ----------
    name
        What log and progress call it.
    module
        ``module(batch)`` gives a dictionary whose ``"loss"`` is minimised; its other scalars are logged. The parameters
        with ``requires_grad`` are trained, and ``net`` of :func:`fit` holds all of them.
    score
        ``score(batch)`` gives the validation error of every sample, (n,); less is better. It is called in evaluation
        mode, without gradients.
    source
        Batches for both; they arrive on the device of the module.
    steps
        Steps of the recipe.
    budget
        Steps of this run, often fewer: see :func:`split_budget`.
    learning_rate
        Of Adam.
    decay
        (k, factor): every k steps the learning rate is multiplied by the factor.
    clip_norm
        Largest norm of the gradient; None for no limit.
    patience
        End the stage after so many validations in a row without improvement; None for never.
    validate_every
        Steps between validations; by default a fiftieth of the budget, but at least 100. The last step always ends
        with a validation.
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
        """Steps between lines of the log: about two thousand a stage."""
        return max(self.budget // 2000, 1)

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        every, factor = self.decay or (1, 1.0)
        return self.learning_rate * factor ** (step // every)


def split_budget(run: TrainingRun, steps: Sequence[int]) -> tuple[int, ...]:
    """Share the steps that a run is allowed among its stages, in proportion to what the recipe states for each.

    Parameters
    ----------
    run
        The request; without ``run.steps``, or if it allows more, every stage gets what is stated.
    steps
        Stated steps of every stage.
    """
    stated = sum(steps)
    allowed = min(run.steps or stated, stated)
    ends = [allowed * sum(steps[: place + 1]) // stated for place in range(len(steps))]
    return tuple(end - start for start, end in zip([0, *ends], ends, strict=False))
