"""The model that is evaluated, on a worker: it is loaded once, and called for one batch of images after the other."""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.answers import IsolatedAnswers
from qpibench.evaluation.entries import Entry
from qpibench.evaluation.entry_code import code_sha256
from qpibench.evaluation.environment import environment
from qpibench.evaluation.execution import Execution
from qpibench.evaluation.isolation.declaration import Declaration
from qpibench.evaluation.isolation.failure import ModelFailure
from qpibench.evaluation.isolation.isolated import IsolatedModel
from qpibench.evaluation.isolation.parent import closed_parent
from qpibench.evaluation.predict import Request
from qpibench.release import Release, open_release

Asked = tuple[Request, Release]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the model.

    Attributes
    ----------
    method
        ``"load"`` only loads the model. After ``"encode"`` and ``"autoencode"`` it is ended, as they tell it true
        kernels.
    number
        Number of the request.
    rows
        Rows of the release for ``"predict"``, kernels for ``"autoencode"``.
    batch_size
        Kernels per call of the model.
    """

    method: Literal["load", "predict", "encode", "autoencode"]
    number: int
    rows: NDArray[np.integer] | None = None
    batch_size: int = 1


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a call returned, and about the model that was called.

    Attributes
    ----------
    arrays
        The prediction; ``{"kernels": ...}`` or ``{"latents": ...}`` of the other methods.
    failure, stage, ended
        The failure of the model or None, its stage, and whether it has ended the model's process.
    declaration
        The model's declarations; None if it could not be loaded.
    seconds, fit_seconds
        Wall-clock seconds of the call, and of the model's fit, None without one.
    peak_memory_bytes
        Largest observed resident memory of the model.
    environment
        Description of the worker's machine.
    """

    arrays: dict[str, NDArray[Any]]
    failure: ModelFailure | None
    stage: Literal["import", "fit", "predict"]
    ended: bool
    declaration: Declaration | None
    seconds: float
    fit_seconds: float | None
    peak_memory_bytes: int
    environment: dict[str, str]


@dataclass(eq=False)
class _Kept:
    """A model in its process, and from what it has learned."""

    model: IsolatedModel
    source: tuple[object, ...] | None = None
    fit_seconds: float | None = None


class Models:
    """The model, in as many processes as a worker makes calls at the same time; called with a :class:`Call`.

    A process is kept for the next call. It is started anew where the model has to learn from another release, and ended
    after a failure. All end when the worker drops this object: at the end of the run, or when the scheduler has lost
    the command.

    Parameters
    ----------
    entry, code
        The model, and the SHA-256 of its file and of its code.
    asked
        The requests, with their releases.
    execution
        Threads, seed and limits.
    hidden
        Paths that the model must not see.
    """

    def __init__(
        self,
        entry: Entry,
        code: tuple[str, str],
        asked: Sequence[Asked],
        execution: Execution,
        hidden: Sequence[Path],
    ) -> None:
        self._entry, self._code, self._asked, self._execution, self._hidden = entry, code, asked, execution, hidden
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._free: list[_Kept] = []
        self._open = ExitStack()
        self._running: set[IsolatedModel] = set()
        weakref.finalize(self, _end_all, self._running, self._open)

    def __reduce__(self) -> tuple[Any, ...]:
        return Models, (self._entry, self._code, self._asked, self._execution, self._hidden)

    def __call__(self, call: Call) -> Reply:
        """Make the call; a failure of the model is a part of the reply.

        Raises
        ------
        UsageError
            If this worker does not see the model or a release, or sees others.
        """
        request, release = self._asked[call.number]
        training = request.training or release
        self._check(release, training)
        source = training.content_sha256, request.view, request.map_mode, request.kernel_px
        kept = self._taken(source)
        model, answers = kept.model, IsolatedAnswers(kept.model, release, request, seed=self._execution.seed)
        arrays: dict[str, NDArray[Any]] = {}
        failure: ModelFailure | None = None
        stage: Literal["import", "fit", "predict"] = "import"
        try:
            if model not in self._running:
                model.__enter__()
                self._running.add(model)
            if call.method != "load" and model.declaration.has_fit and kept.source != source:
                if kept.source is not None:
                    model.restart()
                stage, kept.source = "fit", source
                try:
                    answers.fit()
                finally:
                    kept.fit_seconds = answers.seconds
            stage = "predict"
            arrays = _called(answers, call)
        except ModelFailure as error:
            failure = error
        except BaseException:
            self._end(model)
            raise
        reply = Reply(
            arrays=arrays,
            failure=failure,
            stage=stage,
            ended=model.ended,
            declaration=None if stage == "import" else model.declaration,
            seconds=answers.seconds,
            fit_seconds=kept.fit_seconds,
            peak_memory_bytes=model.peak_memory_bytes,
            environment=environment(),
        )
        if failure is not None or call.method in ("encode", "autoencode"):
            self._end(model)
        else:
            self._free.append(kept)
        return reply

    def _check(self, *releases: Release) -> None:
        """Check that this worker sees what the command sees; the first time, also hide the releases from the model."""
        with self._lock:
            if not self._seen:
                self._check_code()
                self._open.enter_context(closed_parent(self._hidden))
            for release in releases:
                if str(release.path) not in self._seen:
                    self._check_release(release)
                    self._seen.add(str(release.path))

    def _check_release(self, release: Release) -> None:
        try:
            with open_release(release.path) as found:
                content_sha256 = found.content_sha256
        except UsageError:
            raise UsageError(f"{_this()} does not see '{release.path}'; put it where all workers see it.") from None
        if content_sha256 != release.content_sha256:
            raise UsageError(f"{_this()} sees another release at '{release.path}' than this machine.")

    def _check_code(self) -> None:
        path = self._entry.path
        try:
            code = self._entry.sha256, code_sha256(path)
        except InvalidDataError:
            raise UsageError(f"{_this()} does not see the model '{path}'; put it where all workers see it.") from None
        if code != self._code:
            raise UsageError(f"{_this()} sees another model at '{path}' than this machine.")

    def _taken(self, source: tuple[object, ...]) -> _Kept:
        """Return a model that nobody calls, if possible one that has learned from this source."""
        with self._lock:
            if self._free:
                kept = next((each for each in self._free if each.source == source), self._free[0])
                self._free.remove(kept)
                return kept
        limits, seed, threads = self._execution.limits, self._execution.seed, self._execution.threads
        return _Kept(IsolatedModel(self._entry, limits=limits, hidden=self._hidden, seed=seed, threads=threads))

    def _end(self, model: IsolatedModel) -> None:
        if model in self._running:
            self._running.remove(model)
            model.__exit__(None, None, None)


def _called(answers: IsolatedAnswers, call: Call) -> dict[str, NDArray[Any]]:
    match call.method:
        case "predict":
            assert call.rows is not None
            return answers.predict(call.rows)
        case "encode":
            return {"latents": answers.encode_kernels(call.batch_size)}
        case "autoencode":
            assert call.rows is not None
            return {"kernels": answers.autoencode_kernels(call.rows, call.batch_size)}
    return {}


def _end_all(running: set[IsolatedModel], opened: ExitStack) -> None:
    for model in running:
        model.__exit__(None, None, None)
    opened.close()


def _this() -> str:
    return f"The dask worker on machine '{socket.gethostname()}'"
