"""The stages of one run, one after the other: steps, validation, checkpoints, and stopping at any moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from learned.checkpoint import Checkpoint, Position, load_net, read_checkpoint
from learned.device import hardware
from learned.keeper import Keeper, Status
from learned.precision import choose_precision, numerics
from learned.progress import Progress
from learned.stage import Stage
from learned.steps import Steps, require_finite
from learned.stop import Stop
from qpibench.errors import QpibenchError
from qpibench.training import Best, RunFolder, SourceRecord, TrainingRun, begin_run, update_run

GPU_STEPS_UNREAD = 10
"""On a GPU the losses of so many steps are read at once: reading makes the CPU wait for it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that an entry says of a run, the arguments of :func:`learned.loop.fit`."""

    run: TrainingRun
    config: Mapping[str, Any]
    net: nn.Module
    stages: Sequence[Callable[[], Stage]]
    source_record: SourceRecord
    steps_stated: int
    export: Callable[[], dict[str, Tensor]]


def _start(run: TrainingRun, folder: RunFolder, net: nn.Module) -> Checkpoint:
    """Where the run begins or goes on, with the network in its state there."""
    if not (run.resume and folder.checkpoint.exists()):
        return Checkpoint(position=Position(), net={}, optimizer={}, best={})
    checkpoint = read_checkpoint(folder.checkpoint)
    load_net(net, checkpoint, folder.checkpoint)
    return replace(checkpoint, net={})


class Training:
    """The stages of a run, one after the other; only the main process has a keeper.

    Parameters
    ----------
    plan
        What to train.
    accelerator
        The device, the precision and the other processes.
    quiet
        Whether no progress is told.

    Attributes
    ----------
    plan, accelerator
        As given.
    precision
        ``no``, ``tf32`` or ``bf16``.
    start
        Where the run begins or goes on; the network is in its state there.
    progress
        Tells how far it is.
    stop_signal
        Whether a signal asks to stop.
    """

    def __init__(self, plan: Plan, accelerator: Accelerator, *, quiet: bool = False) -> None:
        self.plan, self.accelerator = plan, accelerator
        run, net, main = plan.run, plan.net, accelerator.is_main_process
        precision = choose_precision(run)
        self.precision = precision.mode
        self._folder, config = RunFolder(run.folder), {**plan.config, "precision": self.precision}
        budget = min(run.steps or plan.steps_stated, plan.steps_stated)
        if main:
            begin_run(
                run,
                config=config,
                source=plan.source_record,
                steps_stated=plan.steps_stated,
                steps_budget=budget,
                hardware=hardware(accelerator),
                numerics=numerics(precision),
            )
            for torn in self._folder.path.glob(".*.partial"):  # of a process that was killed while it wrote
                torn.unlink(missing_ok=True)
        net.to(accelerator.device)
        self.start = _start(run, self._folder, net)
        position = self.start.position
        self.keeper = Keeper(self._folder, net, plan.export, config=config, start=position) if main else None
        self.stop_signal = Stop(None)
        self.progress = Progress(shown=main and not quiet, steps=budget, done=position.steps_done)
        self._steps_unread = GPU_STEPS_UNREAD if accelerator.device.type == "cuda" else 1

    def run(self, stop: Stop) -> None:
        """Train the stages that are left."""
        self.stop_signal = stop
        position = self.start.position
        if self.is_complete(position):
            self.keep_complete(position)
        while not self.is_complete(position):
            stage, steps = self.begin_stage(position)
            position, reason = self._train(stage, steps, position)
            if reason is not None:
                self.stop(stage, steps, position, reason)
                return
            position = self.end_stage(stage, steps, position)

    def is_complete(self, position: Position) -> bool:
        """Whether all stages are done."""
        return position.stage == len(self.plan.stages)

    def keep_complete(self, position: Position) -> None:
        """Say that nothing is left to do."""
        self.progress.say("The run is complete; there is nothing to resume.")
        self.save(position, None, status="complete")

    def begin_stage(self, position: Position, *, graphed: bool = False) -> tuple[Stage, Steps]:
        """The stage at a position, ready to step."""
        stage = self.plan.stages[position.stage]()
        seed = f"{self.plan.run.seed}/{position.stage}"
        steps = Steps(self.accelerator, stage, self.plan.net, seed=seed, graphed=graphed)
        if position.step:
            steps.load(self.start.optimizer, self.start.best)
        return stage, steps

    def end_stage(self, stage: Stage, steps: Steps, position: Position) -> Position:
        """Go to the next stage, with the best state of this one."""
        steps.close()
        best, ended_early = _best(stage, position), position.step < stage.budget
        following = Position(
            stage=position.stage + 1,
            steps_before=position.steps_done,
            all_reached=position.all_reached and (ended_early or position.step >= stage.steps),
            stopped_early=position.stopped_early or ended_early,
        )
        self.save(following, best, status="complete" if self.is_complete(following) else "running")
        return following

    def stop(self, stage: Stage, steps: Steps, position: Position, reason: str) -> None:
        """Keep a stage that is not done."""
        self.save(position, _best(stage, position), steps, status="stopped")
        self.progress.say(
            f"Stopped after step {position.step:,} of stage '{stage.name}' because {reason}; the same command"
            " with --resume goes on."
        )

    def fail(self) -> None:
        """Note in the run's record that an error ended it."""
        if self.keeper is not None:
            with suppress(QpibenchError):  # a disk that is full is full for this too
                update_run(self._folder, status="stopped")

    def close(self) -> None:
        """Close the log."""
        self.progress.clear()
        if self.keeper is not None:
            self.keeper.close()

    def _train(self, stage: Stage, steps: Steps, position: Position) -> tuple[Position, str | None]:
        """Train a stage to its end, or to the moment when there is a reason to stop."""
        batches = stage.source.ahead(position.step)
        unread: list[Mapping[str, Tensor]] = []
        try:
            while position.step < stage.budget or position.validation_due:
                if not position.validation_due:
                    unread.append(steps.take(position.step, next(batches)))
                    position = step_done(stage, position)
                    if len(unread) < self._steps_unread and not position.validation_due:
                        continue
                    self._read(stage, position, unread)
                    unread = []
                if position.validation_due:
                    position = self.validate(stage, steps, position)
                    if is_over(stage, position):
                        break
                if (reason := self._reason_to_stop()) is not None:
                    return position, reason
                self.save_if_due(stage, steps, position)
        finally:
            batches.close()
        return position, None

    def validate(self, stage: Stage, steps: Steps, position: Position) -> Position:
        """Note the validation error, and the state if none was better; an interrupted validation stays due."""
        score = steps.validate(position.step, interrupted=lambda: self.stop_signal.interrupted)
        if score is None:
            return position
        position = replace(position, validation_due=False)
        require_finite(stage.name, position.step, {"validation error": score})
        self._log(stage, position, position.step, {"validation": score})
        if position.best_score is not None and score >= position.best_score:
            return replace(position, stale=position.stale + 1)
        steps.keep_as_best()
        return replace(position, stale=0, best_step=position.step, best_score=score)

    def _read(self, stage: Stage, position: Position, unread: Sequence[Mapping[str, Tensor]]) -> None:
        """Bring the losses of the last steps to the CPU."""
        names = [name for name, value in unread[0].items() if value.numel() == 1]
        table = torch.stack([torch.stack([values[name].float().reshape(()) for name in names]) for values in unread])
        self.read(stage, position, names, self.accelerator.reduce(table, reduction="mean").tolist())

    def read(self, stage: Stage, position: Position, names: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
        """Refuse losses of the last steps that are not finite, log and show the others."""
        for step, row in enumerate(rows, position.step - len(rows) + 1):
            numbers = dict(zip(names, row, strict=True))
            require_finite(stage.name, step, numbers)
            if step % stage.logging_interval == 0 or step == stage.budget:
                self._log(stage, position, step, numbers | {"learning_rate": stage.learning_rate_at(step - 1)})
        self.progress(stage, position, numbers["loss"])

    def _log(self, stage: Stage, position: Position, step: int, numbers: Mapping[str, float]) -> None:
        if self.keeper is not None:
            self.keeper.log(stage.name, step, numbers, total_step=position.steps_before + step)

    def _reason_to_stop(self) -> str | None:
        """Why to stop, the same for all processes."""
        if self.accelerator.num_processes == 1:
            return self.stop_signal.reason
        told = torch.tensor(float(self.stop_signal.reason is not None), device=self.accelerator.device)
        if self.accelerator.reduce(told, reduction="sum").item() == 0:
            return None
        return self.stop_signal.reason or "another process stopped"

    def save_if_due(self, stage: Stage, steps: Steps, position: Position) -> None:
        """Write a checkpoint if the last one is old."""
        if self.keeper is not None and self.keeper.is_due:
            self.save(position, _best(stage, position), steps, status="running")

    def save(self, position: Position, best: Best | None, steps: Steps | None = None, *, status: Status) -> None:
        """Write everything that the run is continued from."""
        if steps is not None:
            steps.require_finite_parameters(position.step)
        if self.keeper is None:
            return
        optimizer, best_state = ({}, {}) if steps is None else (steps.optimizer_tensors(), steps.best)
        self.keeper.save(position, best, optimizer=optimizer, best_state=best_state, status=status)


def step_done(stage: Stage, position: Position, *, count: int = 1) -> Position:
    """Return the position after some more steps, none of which but the last is followed by a validation."""
    step = position.step + count
    due = step % stage.validation_interval == 0 or step == stage.budget
    return replace(position, step=step, validation_due=due)


def is_over(stage: Stage, position: Position) -> bool:
    """Whether a stage has just ended with a validation: at its last step, or for lack of improvement."""
    if position.validation_due:
        return False
    return position.step == stage.budget or (position.stale > 0 and position.stale == stage.patience)


def _best(stage: Stage, position: Position) -> Best | None:
    if position.best_step is None or position.best_score is None:
        return None
    return Best(stage=stage.name, step=position.best_step, score=position.best_score)
