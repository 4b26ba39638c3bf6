"""The queue of ``make gpu-train``: the published methods' arms, most important first, and an estimate of their time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.studies import STUDIES, TWO_STEP, Arm


@dataclass(frozen=True, kw_only=True)
class Queued:
    """An arm of a study; `stream` trains it on fresh draws of the spec instead of its release."""

    arm: Arm
    stream: bool = False


TWO_STEP_CODE, ONE_STEP_CODE = STUDIES["two_steps_code"].arms
ONE_STEP = STUDIES["two_steps"].arms[1]

# 30,000 steps of stage 1 instead of the recipe's 3,000; the learning rate falls by the same factor in all.
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
"""Ratio of the step times of one_step and two_step on a GPU; on one core it is 3.5. The second stage of two_step has no
decoder."""

STREAM_COST = 1.5
"""Ratio of the step times on fresh draws, which the same machine makes meanwhile, and on a release."""


@dataclass
class Pace:
    """Estimates how long an arm takes from the arms that have run.

    Before the first arm has run, every estimate is 0.
    """

    _unit_seconds: list[float] = field(default_factory=list)

    def learn(self, queued: Queued, seconds: float, steps: int) -> None:
        """Record the time of an arm that has run."""
        if steps:
            self._unit_seconds.append(seconds / steps / _cost(queued))

    def seconds(self, queued: Queued, steps: int) -> float:
        """Estimate the seconds of an arm from the slowest recorded step."""
        return max(self._unit_seconds, default=0.0) * _cost(queued) * steps


def chosen(names: Sequence[str] | None) -> tuple[Queued, ...]:
    """Return the arms with these names in the order of the queue; all arms if None."""
    return tuple(queued for queued in QUEUE if names is None or queued.arm.name in names)


def _cost(queued: Queued) -> float:
    return (ONE_STEP_COST if queued.arm.entry == "one_step" else 1.0) * (STREAM_COST if queued.stream else 1.0)
