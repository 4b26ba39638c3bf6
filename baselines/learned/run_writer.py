"""Files of a training run: each is replaced as a whole, so a run can be resumed after any end of the process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn

from learned.checkpoint import Checkpoint, Position, write_checkpoint, write_weights
from learned.log import TrainingLog
from qpibench.errors import QpibenchError
from qpibench.evaluation.entries import file_sha256
from qpibench.training import Best, RunFolder, update_run
from qpibench.training.curves import draw_curves

INTERVAL_S = 60.0
LARGEST_SHARE = 0.05
"""Largest share of the time that writing checkpoints may take; slow ones are written less often."""


Status = Literal["running", "stopped", "complete"]


class RunWriter:
    """Writes the log, checkpoint, weights, record and curves of a run.

    Parameters
    ----------
    folder
        The run folder.
    net, export
        See :func:`learned.loop.fit`.
    half
        Whether the weights are stored in float16.
    config
        Settings of the run, for the metadata of the weights.
    start
        Position from which the run resumes; later lines of the log are cut off.
    """

    def __init__(
        self,
        folder: RunFolder,
        net: nn.Module,
        export: Callable[[], dict[str, Tensor]],
        *,
        half: bool,
        config: Mapping[str, Any],
        start: Position,
    ) -> None:
        self._folder, self._net, self._export, self._half = folder, net, export, half
        self._metadata = {"config": json.dumps(dict(config), sort_keys=True)}
        self._log = TrainingLog(folder, length=start.log_bytes, step=start.steps_done)
        self._started = time.monotonic() - start.seconds
        self._due_at = time.monotonic() + INTERVAL_S

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() >= self._due_at

    def log(self, stage: str, step: int, numbers: Mapping[str, float], *, total_step: int) -> None:
        """Log the numbers of a step; ``total_step`` counts the steps of all stages together.

        Raises
        ------
        QpibenchError
            If the log cannot be written.
        """
        self._log.write(stage, step, {**numbers, "seconds": round(self._seconds, 3)}, total_step=total_step)

    def save(
        self,
        position: Position,
        best: Best | None,
        *,
        optimizer: Mapping[str, Tensor],
        best_state: Mapping[str, Tensor],
        status: Status,
    ) -> None:
        """Write all files. The weights are those of ``best_state``; if it is empty, those of the network.

        Raises
        ------
        QpibenchError
            If a file cannot be written; its old version is kept.
        """
        began = time.monotonic()
        try:
            position = replace(position, seconds=self._seconds, log_bytes=self._log.sync())
            state = self._net.state_dict()
            checkpoint = Checkpoint(position=position, net=state, optimizer=optimizer, best=best_state)
            write_checkpoint(self._folder.checkpoint, checkpoint)
            with _loaded(self._net, best_state):
                write_weights(self._folder.weights, self._export(), self._metadata, half=self._half)
            update_run(
                self._folder,
                steps_done=position.steps_done,
                status=status,
                stopped_early=status == "complete" and position.all_reached and position.stopped_early,
                seconds=position.seconds,
                weights_sha256=file_sha256(self._folder.weights),
                **({} if best is None else {"best": best}),
            )
            draw_curves(self._folder.log, self._folder.curves)
        except QpibenchError as error:
            raise type(error)(
                f"{error} The files written before are kept; remove the cause and run the same command with --resume."
            ) from None
        now = time.monotonic()
        self._due_at = now + max(INTERVAL_S, (now - began) / LARGEST_SHARE)

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    @property
    def _seconds(self) -> float:
        """Training time in s, of all starts together."""
        return time.monotonic() - self._started


@contextmanager
def _loaded(net: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """Load other tensors into a network within the context."""
    held = net.state_dict()
    former = {name: held[name].clone() for name in state}
    net.load_state_dict(state, strict=False)
    try:
        yield
    finally:
        net.load_state_dict(former, strict=False)
