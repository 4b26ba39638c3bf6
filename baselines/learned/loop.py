"""The training loop of all learned entries: stages of steps, validation, checkpoints, and stopping at any moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learned.source import Batch, Source
from torch import Tensor, nn

from qpibench.training import SourceRecord, TrainingRun


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


def split_budget(run: TrainingRun, steps: Sequence[int]) -> tuple[int, ...]:
    """Share the steps that a run is allowed among its stages, in proportion to what the recipe states for each.

    Parameters
    ----------
    run
        The request; without ``run.steps`` every stage gets what is stated.
    steps
        Stated steps of every stage.
    """
    if run.steps is None:
        return tuple(steps)
    ends = [round(run.steps * sum(steps[: place + 1]) / sum(steps)) for place in range(len(steps))]
    return tuple(end - start for start, end in zip([0, *ends], ends, strict=False))


def fit(
    run: TrainingRun,
    *,
    config: Mapping[str, Any],
    net: nn.Module,
    stages: Sequence[Callable[[], Stage]],
    source_record: SourceRecord,
    steps_stated: int,
    export: Callable[[], dict[str, Tensor]],
) -> None:
    """Train a network stage by stage, and keep the run folder such that any end can be continued from.

    Every step k of stage s seeds torch from (run.seed, s, k), so a run that was killed and resumed has the losses of one
    that was not, on a CPU bit for bit. At the end of a stage ``net`` has the state that was best by validation.

    Parameters
    ----------
    run
        The request.
    config
        All that the entry resolved, values of JSON; a resumed run must have the same.
    net
        Holds every module of every stage; its state is what a checkpoint keeps.
    stages
        Functions that make the stages. Each is called when its turn comes, with ``net`` in the best state of the stage
        before and on its device; those that a resumed run has behind it are not called.
    source_record
        ``source.record`` of the images.
    steps_stated
        Steps of the recipe, all stages together.
    export
        Gives the tensors that the entry's model needs, written to ``weights.safetensors`` in float16.

    Raises
    ------
    UsageError
        If the folder holds another run, or one and ``run.resume`` is not set.
    InvalidDataError
        If the checkpoint is corrupt or of another architecture.
    QpibenchError
        If the loss is not finite, the memory does not suffice, or a file cannot be written.
    """
