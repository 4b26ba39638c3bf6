"""Log of a training run: one line of JSON and one point in TensorBoard per logged step."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from torch.utils.tensorboard import SummaryWriter

from qpibench.errors import QpibenchError
from qpibench.training import RunFolder


class TrainingLog:
    """Writes ``log.jsonl`` and TensorBoard's event files of a run.

    Parameters
    ----------
    folder
        The run folder.
    length
        Length in bytes that ``log.jsonl`` had at the checkpoint from which the run resumes; the rest is cut off.
    step
        Steps done at that checkpoint, all stages together.

    Raises
    ------
    QpibenchError
        If writing fails, as on a full disk; the methods raise it too.
    """

    def __init__(self, folder: RunFolder, *, length: int, step: int) -> None:
        self._path = folder.log
        try:
            self._file = open(folder.log, "ab")  # noqa: SIM115
            if self._file.tell() > length:
                self._file.truncate(length)
            self._points = SummaryWriter(str(folder.tensorboard), purge_step=step or None)
        except OSError as error:
            raise self._failed(error) from None

    def write(self, stage: str, step: int, numbers: Mapping[str, float], *, total_step: int) -> None:
        """Log the numbers of a step; ``total_step`` counts the steps of all stages together."""
        line = json.dumps({"stage": stage, "step": step, **numbers}, allow_nan=False)
        try:
            self._file.write(line.encode() + b"\n")
            for name, number in numbers.items():
                if name != "seconds":
                    self._points.add_scalar(f"{stage}/{name}", number, total_step)
        except OSError as error:
            raise self._failed(error) from None

    def sync(self) -> int:
        """Write everything to the disk and return the length of ``log.jsonl`` in bytes."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._points.flush()
            return os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Close the files; lines written since the last :meth:`sync` may be lost."""
        for each in (self._file, self._points):
            with suppress(OSError):
                each.close()

    def _failed(self, error: OSError) -> QpibenchError:
        return QpibenchError(f"Log '{self._path}' cannot be written: {error.strerror}.")
