"""Training of one run: steps, validations and checkpoints of its stages, and stopping at any moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from learned.checkpoint import Checkpoint, Position, load_net, read_checkpoint
from learned.compilation import is_compiled
from learned.device import hardware
from learned.precision import choose_precision, numerics
from learned.progress import Progress
from learned.resumed import resumed_config
from learned.run_writer import RunWriter, Status
from learned.stage import VALIDATION_SHARE, Stage
from learned.steps import Steps, require_finite
from learned.stop import Stop, ends_at_sigterm
from qpibench.errors import QpibenchError
from qpibench.training import Best, RunFolder, SourceRecord, TrainingRun, begin_run, update_run

GPU_STEPS_UNREAD = 10
"""Number of steps whose losses are read at once on a GPU, because reading makes the CPU wait."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Arguments of :func:`learned.loop.fit`, which define a run."""

    run: TrainingRun
    config: Mapping[str, Any]
    net: nn.Module
    stages: Sequence[Callable[[], Stage]]
    source_record: SourceRecord
    steps_stated: int
    export: Callable[[], dict[str, Tensor]]
    half: bool = True


def _start(run: TrainingRun, folder: RunFolder, net: nn.Module) -> Checkpoint:
    """Return the checkpoint from which the run starts or resumes, after loading its state into the network."""
    if not (run.resume and folder.checkpoint.exists()):
        return Checkpoint(position=Position(), net={}, optimizer={}, best={})
    checkpoint = read_checkpoint(folder.checkpoint)
    load_net(net, checkpoint, folder.checkpoint)
    return replace(checkpoint, net={})


class Training:
    """Trains the stages of a run one after the other. Only the main process writes files.

    Parameters
    ----------
    plan
        What to train.
    accelerator
        The device, the precision and the other processes.
    quiet
        Whether no progress is printed.

    Attributes
    ----------
    plan, accelerator
        As given.
    precision
        ``no``, ``tf32`` or ``bf16``.
    start
        Checkpoint from which the run starts or resumes; its state is loaded into the network.
    progress
        Prints the progress.
    stop_signal
        Whether training has to stop.
    """

    def __init__(self, plan: Plan, accelerator: Accelerator, *, quiet: bool = False) -> None:
        self.plan, self.accelerator = plan, accelerator
        run, net, main = plan.run, plan.net, accelerator.is_main_process
        precision = choose_precision(run)
        self.precision = precision.mode
        self._folder = RunFolder(run.folder)
        self._compiles = is_compiled(run)
        former = resumed_config(run)
        self._validation_share = VALIDATION_SHARE if former is None else former.get("validation_share")
        config = {**plan.config, "precision": self.precision}
        if self._validation_share is not None:
            config["validation_share"] = self._validation_share
        if self._compiles:
            config["compile"] = True
        self._numerics = numerics(precision, compiled="torch.compile" if self._compiles else "no")
        budget = min(run.steps or plan.steps_stated, plan.steps_stated)
        if main:
            begin_run(
                run,
                config=config,
                source=plan.source_record,
                steps_stated=plan.steps_stated,
                steps_budget=budget,
                hardware=hardware(accelerator),
                numerics=self._numerics,
            )
            for torn in self._folder.path.glob(".*.partial"):  # a process was killed while it wrote
                torn.unlink(missing_ok=True)
        net.to(accelerator.device)
        self.start = _start(run, self._folder, net)
        position = self.start.position
        self.writer = (
            RunWriter(self._folder, net, plan.export, half=plan.half, config=config, start=position) if main else None
        )
        self.stop_signal = Stop(None)
        self.progress = Progress(shown=main and not quiet, steps=budget, done=position.steps_done)
        self._steps_unread = GPU_STEPS_UNREAD if accelerator.device.type == "cuda" else 1

    def run(self, stop: Stop) -> None:
        """Train the remaining stages."""
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
        """Return whether all stages are done."""
        return position.stage == len(self.plan.stages)

    def keep_complete(self, position: Position) -> None:
        """Print that the run is complete, and record it."""
        self.progress.say("The run is complete; there is nothing to resume.")
        self.save(position, None, status="complete")

    def begin_stage(self, position: Position, *, graphed: bool = False) -> tuple[Stage, Steps]:
        """Make the stage at a position and prepare its steps."""
        stage = replace(self.plan.stages[position.stage](), validation_share=self._validation_share)
        seed = f"{self.plan.run.seed}/{position.stage}"
        steps = Steps(self.accelerator, stage, self.plan.net, seed=seed, graphed=graphed)
        if position.step:
            steps.load(self.start.optimizer, self.start.best)
        if self._compiles:
            self._compile(stage, steps)
        return stage, steps

    def _compile(self, stage: Stage, steps: Steps) -> None:
        """Compile the loss of a stage; if that fails, print and record why, and train without."""
        if self.accelerator.device.type != "cpu":
            failure: str | None = "it is used on a CPU only"
        else:
            self.progress.say(f"Compiling the loss of stage '{stage.name}'; this can take minutes.")
            with ends_at_sigterm():  # everything is saved
                failure = steps.compile()
        if failure is not None:
            self._numerics |= {"compile": f"{self._numerics['compile']}; not stage '{stage.name}': {failure}"}
            self.progress.say(f"Stage '{stage.name}' trains without torch.compile, more slowly: {failure}.")
            if self.writer is not None:
                update_run(self._folder, numerics=self._numerics)

    def end_stage(self, stage: Stage, steps: Steps, position: Position) -> Position:
        """Load the best state of the stage, save it, and return the position at the start of the next stage."""
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
        """Write a checkpoint of a stage that is not complete, and print why training stops."""
        self.save(position, _best(stage, position), steps, status="stopped")
        self.progress.say(
            f"Stopped after step {position.step:,} of stage '{stage.name}' because {reason}; the same command"
            " with --resume continues."
        )

    def fail(self) -> None:
        """Record that an error ended the run."""
        if self.writer is not None:
            with suppress(QpibenchError):  # on a full disk this fails too
                update_run(self._folder, status="stopped")

    def close(self) -> None:
        """Close the log."""
        self.progress.clear()
        if self.writer is not None:
            self.writer.close()

    def _train(self, stage: Stage, steps: Steps, position: Position) -> tuple[Position, str | None]:
        """Train a stage until it ends or there is a reason to stop; return the position and the reason or None."""
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
        """Validate, log the error and keep the state if it is the best; an interrupted validation stays due."""
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
        """Copy the losses of the last steps to the CPU, averaged over the processes, and pass them to :meth:`read`."""
        names = [name for name, value in unread[0].items() if value.numel() == 1]
        table = torch.stack([torch.stack([values[name].float().reshape(()) for name in names]) for values in unread])
        self.read(stage, position, names, self.accelerator.reduce(table, reduction="mean").tolist())

    def read(self, stage: Stage, position: Position, names: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
        """Check that the losses of the last steps are finite, log them and print the progress."""
        for step, row in enumerate(rows, position.step - len(rows) + 1):
            numbers = dict(zip(names, row, strict=True))
            require_finite(stage.name, step, numbers)
            if step % stage.logging_interval == 0 or step == stage.budget:
                self._log(stage, position, step, numbers | {"learning_rate": stage.learning_rate_at(step - 1)})
        self.progress(stage, position, numbers["loss"])

    def _log(self, stage: Stage, position: Position, step: int, numbers: Mapping[str, float]) -> None:
        if self.writer is not None:
            self.writer.log(stage.name, step, numbers, total_step=position.steps_before + step)

    def _reason_to_stop(self) -> str | None:
        """Return the reason to stop or None; all processes decide alike."""
        if self.accelerator.num_processes == 1:
            return self.stop_signal.reason
        told = torch.tensor(float(self.stop_signal.reason is not None), device=self.accelerator.device)
        if self.accelerator.reduce(told, reduction="sum").item() == 0:
            return None
        return self.stop_signal.reason or "another process stopped"

    def save_if_due(self, stage: Stage, steps: Steps, position: Position) -> None:
        """Write a checkpoint if the last one is too old."""
        if self.writer is not None and self.writer.is_due:
            self.save(position, _best(stage, position), steps, status="running")

    def save(self, position: Position, best: Best | None, steps: Steps | None = None, *, status: Status) -> None:
        """Write the checkpoint and all other files of the run."""
        if steps is not None:
            steps.require_finite_parameters(position.step)
        if self.writer is None:
            return
        optimizer, best_state = ({}, {}) if steps is None else (steps.optimizer_tensors(), steps.best)
        self.writer.save(position, best, optimizer=optimizer, best_state=best_state, status=status)


def step_done(stage: Stage, position: Position, *, count: int = 1) -> Position:
    """Return the position after ``count`` more steps; only the last of them may be followed by a validation."""
    step = position.step + count
    due = step % stage.validation_interval == 0 or step == stage.budget
    return replace(position, step=step, validation_due=due)


def is_over(stage: Stage, position: Position) -> bool:
    """Return whether a stage has ended with a validation, at its last step or by early stopping."""
    if position.validation_due:
        return False
    return position.step == stage.budget or (position.stale > 0 and position.stale == stage.patience)


def _best(stage: Stage, position: Position) -> Best | None:
    if position.best_step is None or position.best_score is None:
        return None
    return Best(stage=stage.name, step=position.best_step, score=position.best_score)
