"""Estimates of the time that the arms of ``make gpu-train`` take."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.arms import Arm

ONE_STEP_COST = 2.2
"""Ratio of the step times of one_step and two_step on a GPU; on one core it is 4. The second stage of two_step has no
decoder."""

STREAM_COST = 1.5
"""Ratio of the step times on fresh draws, which the same machine makes meanwhile, and on a release."""


@dataclass
class Pace:
    """Estimates how long an arm takes from the arms that have run.

    Before the first arm has run, every estimate is 0.
    """

    _unit_seconds: list[float] = field(default_factory=list)

    def learn(self, arm: Arm, seconds: float, steps: int) -> None:
        """Record the time of an arm that has run."""
        if steps:
            self._unit_seconds.append(seconds / steps / _cost(arm))

    def seconds(self, arm: Arm, steps: int) -> float:
        """Estimate the seconds of an arm from the slowest recorded step."""
        return max(self._unit_seconds, default=0.0) * _cost(arm) * steps


def _cost(arm: Arm) -> float:
    return (ONE_STEP_COST if arm.entry == "one_step" else 1.0) * (STREAM_COST if arm.stream else 1.0)
