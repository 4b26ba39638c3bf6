"""The training of all learned entries: :func:`fit`.

On one GPU the steps run as CUDA graphs, see :mod:`learned.lanes`; elsewhere one operation after the other, see
:mod:`learned.training`.
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
    """What an entry's ``train`` would train, without training; several plans can then be trained together.

    Raises
    ------
    ValueError
        If it does not train by one call of :func:`fit`.
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
) -> None:
    """Train a network stage by stage, and keep the run folder such that any end can be continued from.

    Every step k of stage s seeds torch from (run.seed, s, k), so a run that was killed and resumed has the losses of
    one that was not, on a CPU bit for bit. At the end of a stage ``net`` has the state that was best by validation.

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
    plan = Plan(
        run=run,
        config=config,
        net=net,
        stages=stages,
        source_record=source_record,
        steps_stated=steps_stated,
        export=export,
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
