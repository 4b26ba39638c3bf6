"""The queue of ``make gpu-train``: the published methods' arms in the order of their worth, and what fits a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.studies import STUDIES, TWO_STEP, Arm


@dataclass(frozen=True, kw_only=True)
class Queued:
    """An arm, and whether it is trained on fresh draws of the spec instead of its release."""

    arm: Arm
    stream: bool = False


TWO_STEP_CODE, ONE_STEP_CODE = STUDIES["two_steps_code"].arms
ONE_STEP = STUDIES["two_steps"].arms[1]

# 30,000 steps of stage 1 where the recipe has 3,000, and a learning rate that falls as much in all.
LONG = ("kernel_epochs=3000", "kernel_decay_epochs=200")

QUEUE = (
    Queued(arm=TWO_STEP_CODE),
    Queued(arm=TWO_STEP),
    Queued(arm=Arm(name="two_step-code-long", entry="two_step", recipe="code", settings=LONG)),
    Queued(arm=Arm(name="two_step-code-long-stream", entry="two_step", recipe="code", settings=LONG), stream=True),
    Queued(arm=ONE_STEP),
    Queued(arm=ONE_STEP_CODE),
    *(Queued(arm=STUDIES[name].arms[1]) for name in ("symmetry", "noise", "map")),
)

ONE_STEP_COST = 2.2
"""Time of a step of one_step over that of two_step, whose second stage has no decoder; on one core it is 3.5."""

STREAM_COST = 1.5
"""Time of a step on fresh draws, which are made beside it, over that on a release."""


@dataclass
class Pace:
    """Seconds of a step of all runs of an arm together, told by the arms that have run.

    Nothing is known before the first one has: then everything fits.
    """

    _unit_seconds: list[float] = field(default_factory=list)

    def learn(self, queued: Queued, seconds: float, steps: int) -> None:
        """Take note of an arm that has run."""
        if steps:
            self._unit_seconds.append(seconds / steps / _cost(queued))

    def seconds(self, queued: Queued, steps: int) -> float:
        """How long an arm takes, by the slowest that is known."""
        return max(self._unit_seconds, default=0.0) * _cost(queued) * steps


def chosen(names: Sequence[str] | None) -> tuple[Queued, ...]:
    """The arms of some names in the order of the queue; all if None."""
    return tuple(queued for queued in QUEUE if names is None or queued.arm.name in names)


def _cost(queued: Queued) -> float:
    return (ONE_STEP_COST if queued.arm.entry == "one_step" else 1.0) * (STREAM_COST if queued.stream else 1.0)
