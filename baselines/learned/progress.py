"""How far training is, on standard error: one line that is redrawn on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from learned.checkpoint import Position
from learned.stage import Stage

REDRAW_S, REPEAT_S = 0.2, 30.0


class Progress:
    """Tells stage, step, loss, validation error and the time that is left for all stages at the present pace.

    Parameters
    ----------
    shown
        Whether this process tells anything.
    steps
        Steps of all stages.
    done
        Steps that were done before this start.
    """

    def __init__(self, *, shown: bool, steps: int, done: int) -> None:
        self._shown, self._steps, self._done = shown, steps, done
        self._terminal = sys.stderr.isatty()
        self._started = self._told = time.monotonic()
        self._width = 0

    def __call__(self, stage: Stage, position: Position, loss: float) -> None:
        """Tell where training is."""
        now = time.monotonic()
        if not self._shown or now - self._told < (REDRAW_S if self._terminal else REPEAT_S):
            return
        self._told = now
        pace = (now - self._started) / max(position.steps_done - self._done, 1)
        parts = [f"{stage.name} {position.step:,} of {stage.budget:,}", f"loss {loss:.4g}"]
        if position.best_score is not None:
            parts.append(f"validation {position.best_score:.4g} at best")
        parts.append(f"{_duration(pace * max(self._steps - position.steps_done, 0))} left")
        self._write("  ".join(parts))

    def say(self, sentence: str) -> None:
        """Write a sentence on a line of its own."""
        if self._shown:
            self.clear()
            print(sentence, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line from the terminal."""
        if self._terminal and self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    def _write(self, text: str) -> None:
        if self._terminal:
            print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(text)
        else:
            print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
