"""What is written down while training: a line of JSON and a point in TensorBoard for every logged step."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from torch.utils.tensorboard import SummaryWriter

from qpibench.errors import QpibenchError
from qpibench.training import RunFolder


class TrainingLog:
    """The log of a run.

    Parameters
    ----------
    folder
        The run folder.
    length
        Bytes of ``log.jsonl`` that are kept, those of the checkpoint that the run continues from.
    step
        Step of all stages together that it continues from.

    Raises
    ------
    QpibenchError
        Here and in the methods if writing fails, as on a full disk.
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
        """Write the numbers of a step; ``total_step`` counts all stages together."""
        line = json.dumps({"stage": stage, "step": step, **numbers}, allow_nan=False)
        try:
            self._file.write(line.encode() + b"\n")
            for name, number in numbers.items():
                if name != "seconds":
                    self._points.add_scalar(f"{stage}/{name}", number, total_step)
        except OSError as error:
            raise self._failed(error) from None

    def sync(self) -> int:
        """Bring everything to the disk; return the length of the file in bytes."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._points.flush()
            return os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """Close the files; what was not synced may be lost."""
        for each in (self._file, self._points):
            with suppress(OSError):
                each.close()

    def _failed(self, error: OSError) -> QpibenchError:
        return QpibenchError(f"Log '{self._path}' cannot be written: {error.strerror}.")
