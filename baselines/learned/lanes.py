"""Train several runs together on one GPU: each run is a branch of one CUDA graph.

The networks are so small that starting their operations one by one takes longer than the operations. A CUDA graph
starts a whole step at once. For that, all inputs of a step are on the device: the images and their order
(:mod:`learned.resident`), the learning rates of the next steps, the random numbers (:mod:`learned.draws`), and a table
for the losses, which the CPU reads every few hundred steps. A step computes the same as in :mod:`learned.training`,
with the same batches and random numbers. Without a GPU the same code runs without a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor

from learned.batches import Batch
from learned.cuda_graph import Branches
from learned.device import described, is_out_of_memory
from learned.draws import Draws
from learned.resident import open_feed
from learned.stage import Stage
from learned.steps import Steps
from learned.stop import Stop, watch
from learned.training import Plan, Training, is_over, step_done
from qpibench.errors import QpibenchError

Failures = dict[int, QpibenchError]
"""Errors that ended runs, by the runs' indices."""

STEPS_UNREAD = 500
"""Number of steps whose losses are read at once, because reading makes the device wait."""

STEPS_BEFORE_CAPTURE = 3
"""Number of steps before the capture of a graph; libraries need some to initialise."""


def fit_lanes(
    plans: Sequence[Plan], accelerator: Accelerator, *, graph: bool = True, quiet: bool = False
) -> list[QpibenchError | None]:
    """Train several runs together, each as :func:`learned.loop.fit` would train it alone.

    Runs at the same stage and step train together; a run that is behind trains until it has reached the others.

    Parameters
    ----------
    plans
        The runs; their stages have equal names and budgets. The time limit of the first run holds for all.
    accelerator
        The device; its only process is this one.
    graph
        Whether to capture a CUDA graph.
    quiet
        Whether no progress is printed.

    Returns
    -------
    list
        For every run the error that ended it, or None.
    """
    trainings: list[Training] = []
    failures: Failures = {}
    try:
        for plan in plans:
            trainings.append(Training(plan, accelerator, quiet=quiet or bool(trainings)))
        trainings[0].progress.say(described(accelerator, trainings[0].precision))
        with watch(plans[0].run.max_seconds) as stop:
            for training in trainings:
                training.stop_signal = stop
            lanes = [Lane(training, place) for place, training in enumerate(trainings)]
            _train(lanes, stop, failures, graph=graph)
    finally:
        for training in trainings:
            training.close()
    return [failures.get(place) for place in range(len(plans))]


class Lane:
    """One of the runs that are trained together.

    Parameters
    ----------
    training
        The run.
    place
        Its index among them.
    """

    def __init__(self, training: Training, place: int) -> None:
        self.training, self.place = training, place
        self.position = training.start.position
        self.stage: Stage
        self.steps: Steps

    @property
    def where(self) -> tuple[int, int]:
        """Index of the stage, and steps done in it."""
        return self.position.stage, self.position.step

    @property
    def is_complete(self) -> bool:
        """Whether all stages are done."""
        return self.training.is_complete(self.position)

    def begin_stage(self) -> None:
        """Prepare the next stage."""
        device = self.training.accelerator.device
        self.stage, self.steps = self.training.begin_stage(self.position, graphed=True)
        self._feed = open_feed(self.stage.source, device, most=STEPS_UNREAD)
        self._draws = Draws(device)
        self._rates = torch.zeros(STEPS_UNREAD, device=device)
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        self._names: list[str] = []
        self._losses: Tensor | None = None

    @property
    def count(self) -> int:
        """Number of steps until the losses have to be read."""
        step = self.position.step
        to_validation = self.stage.validation_interval - step % self.stage.validation_interval
        return min(STEPS_UNREAD, to_validation, self.stage.budget - step)

    def load(self, count: int) -> None:
        """Copy the learning rates and the order of the images for the next steps to the device."""
        first = self.position.step
        rates = [self.stage.learning_rate_at(step) for step in range(first, first + count)]
        self._rates[:count].copy_(torch.tensor(rates))
        self._feed.load(first, count)
        self._place.zero_()

    def prepare(self, done: int) -> None:
        """Draw the random numbers and prepare the batch of the next step, after ``done`` of the loaded steps."""
        self._draws.fill(self.steps.number(self.position.step + done))
        self._feed.prepare()

    def descend(self) -> None:
        """Do a step. It does not wait for the CPU, so a CUDA graph can capture it."""
        assert self.steps.rate is not None
        self.steps.rate.copy_(self._rates.index_select(0, self._place)[0])
        with self._draws.given():
            values = self.steps.descend(self._feed.batch(self._place))
        if self._losses is None:
            self._names = [name for name, value in values.items() if value.numel() == 1]
            self._losses = torch.zeros(STEPS_UNREAD, len(self._names), device=self._place.device)
        row = torch.stack([values[name].float().reshape(()) for name in self._names])
        self._losses.index_copy_(0, self._place, row[None])
        self._place.add_(1)

    def read(self, count: int) -> None:
        """Read the losses of the last ``count`` steps, and validate if a validation follows the last one.

        Raises
        ------
        QpibenchError
            If a loss or the validation error is not finite, or the log cannot be written.
        """
        assert self._losses is not None
        self.position = step_done(self.stage, self.position, count=count)
        self.training.read(self.stage, self.position, self._names, self._losses[:count].tolist())
        self.validate_if_due()

    def validate_if_due(self) -> None:
        """Do the validation that follows the last step, unless there is none or it was done."""
        if self.position.validation_due:
            self.position = self.training.validate(self.stage, self.steps, self.position)

    def batch(self) -> Batch:
        """Return the batch of the current step."""
        return self._feed.batch(self._place)

    def end_stage(self) -> None:
        """Save the stage's result and go to the next stage."""
        self.position = self.training.end_stage(self.stage, self.steps, self.position)

    def save_if_due(self) -> None:
        """Write a checkpoint if the last one is too old."""
        self.training.save_if_due(self.stage, self.steps, self.position)

    def stop(self, reason: str) -> None:
        """Write a checkpoint of a stage that is not complete."""
        self.training.stop(self.stage, self.steps, self.position, reason)

    def close_feed(self) -> None:
        """Stop the preparation of batches."""
        self._feed.close()


def _train(lanes: Sequence[Lane], stop: Stop, failures: Failures, *, graph: bool) -> None:
    """Train all lanes to their end; those at the least stage and step train first, together."""
    left = list(lanes)
    for lane in lanes:
        if lane.is_complete:
            lane.training.keep_complete(lane.position)
    while left := [lane for lane in left if not lane.is_complete and lane.place not in failures]:
        place = min(lane.where for lane in left)
        together = [lane for lane in left if lane.where == place]
        if _train_stage(together, stop, failures, graph=graph):
            left = [lane for lane in left if lane not in together]


def _train_stage(lanes: Sequence[Lane], stop: Stop, failures: Failures, *, graph: bool) -> bool:
    """Train lanes at the same step to the end of their stage; return whether they were stopped before it."""
    for lane in lanes:
        lane.begin_stage()
    active = list(lanes)
    try:
        while active:
            reason = _run(active, stop, failures, graph=graph)
            active = [lane for lane in active if lane.place not in failures]
            over = [lane for lane in active if is_over(lane.stage, lane.position)]
            _each(over, failures, Lane.end_stage)
            active = [lane for lane in active if lane not in over]
            if reason is not None and active:
                _each(active, failures, partial(Lane.stop, reason=reason))
                return True
    finally:
        for lane in lanes:
            lane.close_feed()
    return False


def _run(active: Sequence[Lane], stop: Stop, failures: Failures, *, graph: bool) -> str | None:
    """Train until a lane ends its stage or fails, or there is a reason to stop; return the reason or None."""
    step = _stepper(active, graph=graph)
    _each(active, failures, Lane.validate_if_due)  # a resumed run may have been stopped in a validation
    if _must_end(active, failures, stop):
        return stop.reason
    while True:
        count, done, reason = min(lane.count for lane in active), 0, None
        for lane in active:
            lane.load(count)
        while done < count and reason is None:
            for lane in active:
                lane.prepare(done)
            if not _fits(step):
                advice = _advice(active, done)
                for lane in active:
                    _fail(lane, failures, QpibenchError(advice))
                return None
            done += 1
            reason = stop.reason
        _each(active, failures, partial(Lane.read, count=done))
        reason = reason or stop.reason
        if _must_end(active, failures, stop) or reason is not None:
            return reason
        _each(active, failures, Lane.save_if_due)
        if failures.keys() & {lane.place for lane in active}:
            return None


def _must_end(active: Sequence[Lane], failures: Failures, stop: Stop) -> bool:
    """Return whether the common steps end: a lane failed, ended its stage, or was stopped in its validation."""
    over = any(lane.place in failures or is_over(lane.stage, lane.position) for lane in active)
    return over or (stop.interrupted and any(lane.position.validation_due for lane in active))


def _fits(step: Callable[[], None]) -> bool:
    """Do a step and return whether the memory sufficed; the memory of a failed step is free afterwards."""
    try:
        step()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _stepper(active: Sequence[Lane], *, graph: bool) -> Callable[[], None]:
    """Return a function that does one step of all lanes, on a GPU by a CUDA graph after the first steps."""
    pieces = [lane.descend for lane in active]
    if active[0].training.accelerator.device.type != "cuda":
        return lambda: _one_by_one(pieces)
    branches = Branches(pieces)
    wanted = graph and all(getattr(lane.stage.module, "capturable", True) for lane in active)
    done = 0

    def step() -> None:
        nonlocal done
        if wanted and done == STEPS_BEFORE_CAPTURE:
            capture_or_say(branches, active[0])
        branches()
        done += 1

    return step


def _one_by_one(pieces: Sequence[Callable[[], None]]) -> None:
    for piece in pieces:
        piece()


def capture_or_say(branches: Branches, lane: Lane) -> None:
    """Capture the graph; if that fails, print why and continue without a graph."""
    try:
        branches.capture()
    except RuntimeError as error:
        why = str(error).strip().partition("\n")[0].rstrip(".")
        lane.training.progress.say(f"Stage '{lane.stage.name}' trains without a CUDA graph, more slowly: {why}.")


def _advice(active: Sequence[Lane], done: int) -> str:
    lane = active[0]
    step = lane.position.step + done
    if len(active) == 1:
        return lane.steps.advice(step, lane.batch())
    return (
        f"Stage '{lane.stage.name}' ran out of memory at step {step + 1} with {len(active)} runs at once; train fewer"
        " runs together, or set a smaller batch_size."
    )


def _each(lanes: Sequence[Lane], failures: Failures, act: Callable[[Lane], object]) -> None:
    """Call a function for every lane; an error in one lane does not end the others."""
    for lane in lanes:
        try:
            act(lane)
        except QpibenchError as error:
            _fail(lane, failures, error)


def _fail(lane: Lane, failures: Failures, error: QpibenchError) -> None:
    failures[lane.place] = error
    lane.training.fail()
