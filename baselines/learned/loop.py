"""The training loop of all learned entries: stages of steps, validation, checkpoints, and stopping at any moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from learned.checkpoint import Checkpoint, Position, load_net, read_checkpoint
from learned.device import described, hardware, make_accelerator
from learned.keeper import Keeper, Status
from learned.progress import Progress
from learned.stage import Stage, split_budget
from learned.steps import Steps, require_finite
from learned.stop import Stop, watch
from qpibench.errors import QpibenchError
from qpibench.training import Best, RunFolder, SourceRecord, TrainingRun, begin_run, update_run

__all__ = ["Stage", "fit", "split_budget"]

GPU_STEPS_UNREAD = 10
"""On a GPU the losses of so many steps are read at once: reading makes the CPU wait for it."""


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
    accelerator = make_accelerator(run.precision)
    folder, config = RunFolder(run.folder), {**config, "precision": accelerator.mixed_precision}
    budget = min(run.steps or steps_stated, steps_stated)
    if accelerator.is_main_process:
        steps = {"steps_stated": steps_stated, "steps_budget": budget}
        begin_run(run, config=config, source=source_record, **steps, hardware=hardware(accelerator))
        for torn in folder.path.glob(".*.partial"):  # of a process that was killed while it wrote
            torn.unlink(missing_ok=True)
    net.to(accelerator.device)
    start = _start(run, folder, net)
    keeper = Keeper(folder, net, export, config=config, start=start.position) if accelerator.is_main_process else None
    progress = Progress(shown=accelerator.is_main_process, steps=budget, done=start.position.steps_done)
    progress.say(described(accelerator))
    try:
        with watch(run.max_seconds) as stop:
            _Training(accelerator, net, keeper, progress, stop, seed=run.seed).run(stages, start)
    except QpibenchError:
        if keeper is not None:
            with suppress(QpibenchError):  # a disk that is full is full for this too
                update_run(folder, status="stopped")
        raise
    finally:
        progress.clear()
        if keeper is not None:
            keeper.close()


def _start(run: TrainingRun, folder: RunFolder, net: nn.Module) -> Checkpoint:
    """Where the run begins or goes on, with the network in its state there."""
    if not (run.resume and folder.checkpoint.exists()):
        return Checkpoint(position=Position(), net={}, optimizer={}, best={})
    checkpoint = read_checkpoint(folder.checkpoint)
    load_net(net, checkpoint, folder.checkpoint)
    return replace(checkpoint, net={})


class _Training:
    """The stages of a run, one after the other; only the main process has a keeper."""

    def __init__(
        self,
        accelerator: Accelerator,
        net: nn.Module,
        keeper: Keeper | None,
        progress: Progress,
        stop: Stop,
        *,
        seed: int,
    ) -> None:
        self._accelerator, self._net, self._keeper = accelerator, net, keeper
        self._progress, self._stop, self._seed = progress, stop, seed
        self._steps_unread = GPU_STEPS_UNREAD if accelerator.device.type == "cuda" else 1

    def run(self, stages: Sequence[Callable[[], Stage]], start: Checkpoint) -> None:
        """Train the stages that are left."""
        position = start.position
        if position.stage == len(stages):
            self._progress.say("The run is complete; there is nothing to resume.")
            self._save(position, None, status="complete")
        while position.stage < len(stages):
            stage = stages[position.stage]()
            steps = Steps(self._accelerator, stage, self._net, seed=f"{self._seed}/{position.stage}")
            if position.step:
                steps.load(start.optimizer, start.best)
            position, reason = self._train(stage, steps, position)
            if reason is not None:
                self._save(position, _best(stage, position), steps, status="stopped")
                self._progress.say(
                    f"Stopped after step {position.step:,} of stage '{stage.name}' because {reason}; the same command"
                    " with --resume goes on."
                )
                return
            steps.close()
            best, ended_early = _best(stage, position), position.step < stage.budget
            position = Position(
                stage=position.stage + 1,
                steps_before=position.steps_done,
                all_reached=position.all_reached and (ended_early or position.step >= stage.steps),
                stopped_early=position.stopped_early or ended_early,
            )
            self._save(position, best, status="complete" if position.stage == len(stages) else "running")

    def _train(self, stage: Stage, steps: Steps, position: Position) -> tuple[Position, str | None]:
        """Train a stage to its end, or to the moment when there is a reason to stop."""
        batches = stage.source.ahead(position.step)
        unread: list[Mapping[str, Tensor]] = []
        try:
            while position.step < stage.budget:
                unread.append(steps.take(position.step, next(batches)))
                position = replace(position, step=position.step + 1)
                validates = position.step % stage.validation_interval == 0 or position.step == stage.budget
                if len(unread) < self._steps_unread and not validates:
                    continue
                self._read(stage, position, unread)
                unread = []
                if validates:
                    position = self._validate(stage, steps, position)
                    if (position.stale and position.stale == stage.patience) or position.step == stage.budget:
                        break
                if (reason := self._reason_to_stop()) is not None:
                    return position, reason
                if self._keeper is not None and self._keeper.is_due:
                    self._save(position, _best(stage, position), steps, status="running")
        finally:
            batches.close()
        return position, None

    def _validate(self, stage: Stage, steps: Steps, position: Position) -> Position:
        score = steps.validate()
        require_finite(stage.name, position.step, {"validation error": score})
        self._log(stage, position, position.step, {"validation": score})
        if position.best_score is not None and score >= position.best_score:
            return replace(position, stale=position.stale + 1)
        steps.keep_as_best()
        return replace(position, stale=0, best_step=position.step, best_score=score)

    def _read(self, stage: Stage, position: Position, unread: Sequence[Mapping[str, Tensor]]) -> None:
        """Bring the losses of the last steps to the CPU; refuse what is not finite, log and show the rest."""
        names = [name for name, value in unread[0].items() if value.numel() == 1]
        table = torch.stack([torch.stack([values[name].float().reshape(()) for name in names]) for values in unread])
        rows = self._accelerator.reduce(table, reduction="mean").tolist()
        for step, row in enumerate(rows, position.step - len(rows) + 1):
            numbers = dict(zip(names, row, strict=True))
            require_finite(stage.name, step, numbers)
            if step % stage.logging_interval == 0 or step == stage.budget:
                self._log(stage, position, step, numbers | {"learning_rate": stage.learning_rate_at(step - 1)})
        self._progress(stage, position, numbers["loss"])

    def _log(self, stage: Stage, position: Position, step: int, numbers: Mapping[str, float]) -> None:
        if self._keeper is not None:
            self._keeper.log(stage.name, step, numbers, total_step=position.steps_before + step)

    def _reason_to_stop(self) -> str | None:
        """Why to stop, the same for all processes."""
        if self._accelerator.num_processes == 1:
            return self._stop.reason
        told = torch.tensor(float(self._stop.reason is not None), device=self._accelerator.device)
        if self._accelerator.reduce(told, reduction="sum").item() == 0:
            return None
        return self._stop.reason or "another process stopped"

    def _save(self, position: Position, best: Best | None, steps: Steps | None = None, *, status: Status) -> None:
        if steps is not None:
            steps.require_finite_parameters(position.step)
        if self._keeper is None:
            return
        optimizer, best_state = ({}, {}) if steps is None else (steps.optimizer_tensors(), steps.best)
        self._keeper.save(position, best, optimizer=optimizer, best_state=best_state, status=status)


def _best(stage: Stage, position: Position) -> Best | None:
    if position.best_step is None or position.best_score is None:
        return None
    return Best(stage=stage.name, step=position.best_step, score=position.best_score)
