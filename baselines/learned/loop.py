"""Training of a learned entry: :func:`fit`.

On one GPU the steps run as CUDA graphs (:mod:`learned.lanes`). On a CPU and with several processes PyTorch runs their
operations one by one (:mod:`learned.training`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from learned.device import described, make_accelerator
from learned.lanes import fit_lanes
from learned.precision import choose_precision
from learned.stage import Stage, split_budget
from learned.stop import ends_at_sigterm, watch
from learned.training import Plan, Training
from qpibench.errors import QpibenchError
from qpibench.training import SourceRecord, TrainingRun

__all__ = ["Plan", "Stage", "fit", "plan_of", "split_budget"]

_plans: ContextVar[list[Plan] | None] = ContextVar("plans", default=None)


def plan_of(train: Callable[[TrainingRun], object], run: TrainingRun) -> Plan:
    """Return the arguments with which an entry's ``train`` calls :func:`fit`, without training.

    :func:`learned.lanes.fit_lanes` trains several plans together.

    Raises
    ------
    ValueError
        If ``train`` does not call :func:`fit` exactly once.
    """
    plans: list[Plan] = []
    token = _plans.set(plans)
    try:
        train(run)
    finally:
        _plans.reset(token)
    if len(plans) != 1:
        raise ValueError(f"'{run.entry}' calls fit {len(plans)} times, expected once.")
    return plans[0]


def fit(
    run: TrainingRun,
    *,
    config: Mapping[str, Any],
    net: nn.Module,
    stages: Sequence[Callable[[], Stage]],
    source_record: SourceRecord,
    steps_stated: int,
    export: Callable[[], dict[str, Tensor]],
    half: bool = True,
) -> None:
    """Train a network stage by stage, and write checkpoints from which an interrupted run resumes.

    Every step k of stage s seeds torch from (run.seed, s, k). A run that was killed and resumed therefore has the same
    losses as an uninterrupted one; on a CPU they are equal bit for bit. At the end of a stage ``net`` gets the state of
    the best validation.

    Parameters
    ----------
    run
        The request.
    config
        All settings of the network and its training, values of JSON; a resumed run must have the same.
    net
        Network that contains the modules of all stages; a checkpoint holds its state.
    stages
        One function per stage that makes it. It is called when the stage begins; ``net`` is then on the device, in the
        best state of the stage before. A resumed run does not call those of completed stages.
    source_record
        Record of the training images, ``source.record``.
    steps_stated
        Steps of the recipe, all stages together.
    export
        Returns the tensors that the entry's model needs, which are written to ``weights.safetensors``.
    half
        Whether they are written in float16.

    Raises
    ------
    UsageError
        If the folder holds another run, or holds a run and ``run.resume`` is not set.
    InvalidDataError
        If the checkpoint is corrupt or belongs to another architecture.
    QpibenchError
        If the loss is not finite, the memory is exhausted, or a file cannot be written.
    """
    plan = Plan(
        run=run,
        config=config,
        net=net,
        stages=stages,
        source_record=source_record,
        steps_stated=steps_stated,
        export=export,
        half=half,
    )
    if (plans := _plans.get()) is not None:
        plans.append(plan)
        return
    with ends_at_sigterm():
        accelerator = make_accelerator(choose_precision(run).mode)
    if accelerator.device.type == "cuda" and accelerator.num_processes == 1:
        for failure in fit_lanes([plan], accelerator):
            if failure is not None:
                raise failure
        return
    training = Training(plan, accelerator)
    training.progress.say(described(accelerator, training.precision))
    try:
        with watch(run.max_seconds) as stop:
            training.run(stop)
    except QpibenchError:
        training.fail()
        raise
    finally:
        training.close()
