"""Starts the worker process of a user's model, enforces its limits, and ends it when this process exits.

This contains accidents and leaks: a model that hangs, crashes, prints, changes its folder or reads other files.
It is no security boundary; run hostile code in a container.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.entries import Entry
from qpibench.evaluation.isolation.declaration import Declaration
from qpibench.evaluation.isolation.exchange import (
    PredictionError,
    check_autoencoded,
    check_latents,
    check_prediction,
    max_latents_bytes,
    max_prediction_bytes,
    pack_batch,
)
from qpibench.evaluation.isolation.failure import ModelFailure, place_in_dump
from qpibench.evaluation.isolation.parent import closed_parent, names
from qpibench.evaluation.isolation.process import (
    MARK,
    fixed_threads,
    guarded_folder,
    kill_marked,
    require_processes,
    way_of_death,
    with_package,
)
from qpibench.evaluation.isolation.protocol import Channel, Message, ProtocolError
from qpibench.evaluation.isolation.training import MAX_ROWS
from qpibench.evaluation.isolation.watch import LimitReached, Watch
from qpibench.grid import Grid
from qpibench.paths import quoted
from qpibench.tasks import Batch

_LOG_TAIL_BYTES = 4000
_MAX_LOG_BYTES = 1 << 26
_DEATH_S = 2  # a process that has closed its pipes, or was terminated, ends within this time


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on a model's time and memory.

    Seconds are those of a clock, without those in which the model waited for a processor, see
    :class:`~qpibench.evaluation.isolation.watch.Watch`.

    Attributes
    ----------
    batch_s
        Seconds for one batch.
    fit_s
        Seconds for fit.
    load_s
        Seconds for importing its file.
    memory_gib
        Resident memory in GiB of the worker and its child processes, in addition to the memory after import (and in
        total during import).
    """

    batch_s: float = 60
    fit_s: float = 3600
    load_s: float = 300
    memory_gib: float = 4


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """Source of the rows of fit(train).

    Attributes
    ----------
    kernels
        (kernel, y, x) float32: every kernel once.
    kernel_index
        (row,) int32: the kernel of every row.
    grid, kernel_grid
        Grids of the observations and of the kernels.
    batch
        Function from row numbers to the inputs that the model may see.
    """

    kernels: NDArray[np.float32]
    kernel_index: NDArray[np.int32]
    grid: Grid
    kernel_grid: Grid
    batch: Callable[[NDArray[np.int64]], Batch]


class IsolatedModel:
    """A model in its own worker process; use it as a context manager.

    Parameters
    ----------
    entry
        The model's file.
    limits
        Limits on time and memory.
    hidden
        Paths that must not appear in the worker's environment.
    seed
        Seed of the random number generators in the worker.
    threads
        Threads of the numerical libraries in the worker.

    Attributes
    ----------
    declaration
        The model's declarations.

    Raises
    ------
    ModelFailure
        From any method, if the model fails. The worker has ended then, unless the model only raised an error or
        returned an invalid prediction.
    InvalidDataError
        If a declared file of weights is missing, or the weights in the run folder are not those of run.json.
    """

    declaration: Declaration

    def __init__(
        self, entry: Entry, *, limits: Limits, hidden: Iterable[Path] = (), seed: int = 0, threads: int = 1
    ) -> None:
        self._entry, self._limits, self._seed, self._threads = entry, limits, seed, threads
        self._hidden = tuple(hidden)
        self._former_peak_bytes = 0

    def __enter__(self) -> Self:
        trained = self._entry.weights_sha256()
        self._resources = ExitStack()
        try:
            self._start(self._resources)
            folder = self._entry.folder
            fields = {
                "path": quoted(self._entry.path),
                "target": self._entry.target,
                "seed": self._seed,
                "threads": self._threads,
                "run_folder": None if folder is None else quoted(folder.path),
            }
            with self._limited("import", self._limits.load_s):
                self._channel.send("load", fields)
                self.declaration = Declaration.of(self._receive().fields, self._entry, trained)
            self._watch.set_baseline()
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def restart(self) -> None:
        """End the worker and start a new one; the state learned by fit is lost."""
        self._former_peak_bytes = self.peak_memory_bytes
        self._resources.close()
        self.__enter__()

    @property
    def peak_memory_bytes(self) -> int:
        """Largest observed resident memory of the worker and its child processes, in bytes."""
        return max(self._former_peak_bytes, self._watch.peak_bytes)

    @property
    def ended(self) -> bool:
        """Whether a failure has ended the worker, so that the model cannot be called any more."""
        return self._ended

    def fit(self, rows: TrainingRows) -> None:
        """Call the model's fit."""
        grids = {"grid": rows.grid.model_dump(), "kernel_grid": rows.kernel_grid.model_dump()}
        with self._limited("fit", self._limits.fit_s):
            self._channel.send("fit", grids, {"kernel_index": rows.kernel_index.astype(np.int32)})
            while (request := self._receive(max_bytes=8 * MAX_ROWS)).kind != "fitted":
                if request.kind == "kernels":
                    self._channel.send("kernels", arrays={"kernels": rows.kernels.astype(np.float32)})
                else:
                    self._channel.send("rows", *pack_batch(rows.batch(_row_numbers(request, len(rows.kernel_index)))))

    def predict(self, batch: Batch, *, seed: int | None = None) -> dict[str, NDArray[Any]]:
        """Return the arrays of the model's :class:`~qpibench.tasks.Prediction`, by name.

        Here and below, the random number generators of the worker are seeded before, if a seed is given.
        """
        return self._ask(batch, seed=seed).arrays

    def predict_and_compare(self, batch: Batch) -> tuple[dict[str, NDArray[Any]], list[str]]:
        """Return the model's prediction, and the names of the inputs that the model changed."""
        message = self._ask(batch, compare=True)
        changed = message.fields.get("changed")
        return message.arrays, [str(name) for name in changed] if isinstance(changed, list) else []

    def encode_kernel(self, kernels: NDArray[np.float32], *, seed: int | None = None) -> NDArray[Any]:
        """Return the latents (kernel, d) of kernels (kernel, y, x).

        The kernels are the truth, so the model must not predict anything afterwards.
        """
        with self._limited("encode_kernel", self._limits.batch_s):
            self._channel.send("encode", {"seed": seed}, arrays={"kernels": kernels})
            latents = self._receive(max_bytes=max_latents_bytes(len(kernels))).arrays.get("latents")
            try:
                if latents is None:
                    raise PredictionError("the reply has no latents")
                check_latents(latents, len(kernels))
            except PredictionError as error:
                raise ProtocolError(str(error)) from None
        return latents

    def autoencode(self, kernels: NDArray[np.float32], *, seed: int | None = None) -> NDArray[Any]:
        """Return kernels (kernel, y, x), each encoded and decoded by the model itself, in the same shape.

        The kernels are the truth, so the model must not predict anything afterwards.
        """
        with self._limited("autoencode", self._limits.batch_s):
            self._channel.send("autoencode", {"seed": seed}, arrays={"kernels": kernels})
            decoded = self._receive(max_bytes=8 * kernels.size).arrays.get("kernels")
            try:
                if decoded is None:
                    raise PredictionError("the reply has no kernels")
                check_autoencoded(decoded, kernels.shape)
            except PredictionError as error:
                raise ProtocolError(str(error)) from None
        return decoded

    def _ask(self, batch: Batch, *, compare: bool = False, seed: int | None = None) -> Message:
        fields, arrays = pack_batch(batch)
        with self._limited("predict", self._limits.batch_s):
            self._channel.send("predict", {**fields, "compare": compare, "seed": seed}, arrays)
            message = self._receive(max_bytes=max_prediction_bytes(batch))
            try:
                check_prediction(message.arrays, batch)
            except PredictionError as error:
                raise ProtocolError(str(error)) from None
        return message

    def _receive(self, *, max_bytes: int = 0) -> Message:
        message = self._channel.receive(max_bytes=max_bytes)
        if message.kind == "failed":
            kind, text, traceback = (str(message.fields.get(name)) for name in ("kind", "message", "traceback"))
            raise ModelFailure(kind, text, traceback=traceback + self._last_output())
        return message

    def _start(self, resources: ExitStack) -> None:
        """Start the worker; leaving ``resources`` ends it and removes its folder."""
        require_processes("Models")
        resources.enter_context(closed_parent(self._hidden))
        self._mark = secrets.token_hex(16)
        guarded = resources.enter_context(guarded_folder(self._mark))
        folder = str(guarded.path)
        self._log = resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        theirs_read, ours_write = (resources.enter_context(end) for end in _pipe())
        ours_read, theirs_write = (resources.enter_context(end) for end in _pipe())
        theirs = (theirs_read.fileno(), theirs_write.fileno())
        self._process = subprocess.Popen(
            # -P: files of the current folder are not imported by accident.
            [sys.executable, "-P", "-m", "qpibench.evaluation.isolation.worker", *map(str, (*theirs, os.getpid()))],
            cwd=folder,
            env=_environment(folder, self._hidden) | fixed_threads(self._threads) | {MARK: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=theirs,
            start_new_session=True,
        )
        self._ended = False
        resources.callback(self._end)
        guarded.add_group(self._process.pid)
        for end in (theirs_read, theirs_write):
            end.close()
        for end in (ours_read, ours_write):
            os.set_blocking(end.fileno(), False)
        self._watch = Watch(self._process, memory_gib=self._limits.memory_gib)
        self._channel = Channel(ours_read.fileno(), ours_write.fileno(), watch=self._look)

    def _end(self) -> None:
        """Kill the worker and all processes that it started."""
        if not self._ended:
            # The group outlives its leader as long as a child is in it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            kill_marked(self._mark)
        self._ended = True

    def _look(self) -> bool:
        if os.fstat(self._log.fileno()).st_size > _MAX_LOG_BYTES:
            os.truncate(self._log.fileno(), 0)
            os.lseek(self._log.fileno(), 0, os.SEEK_SET)  # the worker's output goes to this file
        return self._watch()

    @contextmanager
    def _limited(self, what: str, seconds: float) -> Iterator[None]:
        """Communicate with the worker in this context; any failure of the worker ends it and raises ModelFailure."""
        self._watch.set_time_limit(seconds)
        try:
            yield
        except LimitReached as error:
            if error.kind == "time limit":
                # On this signal Python's faulthandler writes the current line.
                self._process.send_signal(signal.SIGABRT)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_DEATH_S)
            raise self._failure(error.kind, f"{what} {error}") from None
        except ProtocolError as error:
            raise self._failure("protocol", f"the process replied to {what} with an invalid message: {error}") from None
        except (EOFError, BrokenPipeError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_DEATH_S)
            kind, how = way_of_death(self._process.poll())
            raise self._failure(kind, f"the process {how} during {what}, without a reply") from None

    def _failure(self, kind: str, text: str) -> ModelFailure:
        self._end()
        output = self._last_output()
        place = place_in_dump(output, self._entry.path.parent) or self._entry.path.name
        return ModelFailure(kind, f"{place}: {text}", traceback=output)

    def _last_output(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES)).decode(errors="replace")
        return f"\nLast output of the model:\n{tail}" if tail.strip() else ""


def _pipe() -> tuple[FileIO, FileIO]:
    read_fd, write_fd = os.pipe()
    return FileIO(read_fd, "r"), FileIO(write_fd, "w")


def _row_numbers(request: Message, count: int) -> NDArray[np.int64]:
    rows = request.arrays.get("rows")
    if request.kind != "rows" or rows is None or rows.ndim != 1 or rows.dtype != np.int64:
        raise ProtocolError("a request during fit is not for rows")
    if len(rows) and (rows.min() < 0 or rows.max() >= count):
        raise ProtocolError(f"there are only {count} rows")
    return rows


def _environment(folder: str, hidden: Iterable[Path]) -> dict[str, str]:
    """Return the environment without values that contain a hidden path; the package is importable from any folder."""
    hidden = tuple(hidden)
    kept = {name: value for name, value in os.environ.items() if not names(value, hidden)}
    kept.pop("OLDPWD", None)
    return with_package(kept) | {"PWD": folder}
