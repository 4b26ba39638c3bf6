"""Progress of training on standard error: a redrawn line on a terminal, else a line every 30 s."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from learned.checkpoint import Position
from learned.stage import Stage

REPEAT_S = 30.0


class Progress:
    """Prints stage, step, loss, best validation error and the estimated time left for all stages.

    Parameters
    ----------
    shown
        Whether this process prints anything.
    steps
        Steps of all stages together.
    done
        Steps done before this start.
    """

    def __init__(self, *, shown: bool, steps: int, done: int) -> None:
        self._shown, self._steps, self._done = shown, steps, done
        self._started = self._told = time.monotonic()
        terminal = shown and sys.stderr.isatty()
        self._bar = tqdm(
            total=steps, initial=done, unit=" steps", leave=False, dynamic_ncols=True, disable=not terminal
        )

    def __call__(self, stage: Stage, position: Position, loss: float) -> None:
        """Update the progress after a step."""
        told = f"loss {loss:.4g}"
        if position.best_score is not None:
            told += f"  validation {position.best_score:.4g} at best"
        if not self._bar.disable:
            self._bar.set_description_str(stage.name, refresh=False)
            self._bar.set_postfix_str(told, refresh=False)
            self._bar.update(position.steps_done - self._bar.n)
        elif self._shown and time.monotonic() - self._told >= REPEAT_S:
            self._told = time.monotonic()
            pace = (self._told - self._started) / max(position.steps_done - self._done, 1)
            left = tqdm.format_interval(pace * max(self._steps - position.steps_done, 0))
            self._print(f"{stage.name} {position.step:,} of {stage.budget:,}  {told}  {left} left")

    def say(self, sentence: str) -> None:
        """Print a sentence on its own line."""
        if self._shown:
            self._print(sentence)

    def clear(self) -> None:
        """Remove the line from the terminal."""
        self._bar.close()

    def _print(self, text: str) -> None:
        with tqdm.external_write_mode(sys.stderr):  # keeps the redrawn line intact
            print(text, file=sys.stderr, flush=True)
