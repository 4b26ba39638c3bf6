"""A model on the workers of a cluster: they predict batches ahead, and this process asks for them in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qpibench.cluster import tasks
from qpibench.cluster.client import ASSUMED_SLOTS, Connection, Place, connected
from qpibench.cluster.models import Asked, Call, Models, Reply
from qpibench.errors import InvalidDataError, QpibenchError, UnavailableError, UsageError
from qpibench.evaluation.course import batches
from qpibench.evaluation.entries import Entry
from qpibench.evaluation.entry_code import code_sha256
from qpibench.evaluation.execution import Execution, default_batch_size
from qpibench.evaluation.isolation.declaration import Declaration
from qpibench.evaluation.predict import check_needs

BATCHES_PER_SLOT = 32
"""So many batches are predicted ahead for each task that runs at the same time, so that workers are busy while this
process scores a cell. Their predictions stay on the workers until they are asked for."""


@contextmanager
def model_on_workers(
    entry: Entry,
    asked: Sequence[Asked],
    execution: Execution,
    *,
    place: Place,
    hidden: Sequence[Path] = (),
    devices: int = 0,
    remedy: str = tasks.RESUME,
) -> Iterator[ModelOnWorkers]:
    """Load a model on workers, which predict as long as the context lasts.

    Parameters
    ----------
    entry
        The model. Its files must be on all workers, under the same path.
    asked
        The requests with their releases, in the order in which they will be asked; the releases too must be on all
        workers under the same path.
    execution
        Batch size, threads, seed and limits.
    place
        Where the workers are.
    hidden
        Paths that the model must not see, besides those of the releases.
    devices
        Number of CUDA devices of this machine that local workers use, one each; 0 if all see all.
    remedy
        What the user may do if the cluster is lost.

    Raises
    ------
    UsageError
        From here, or from any method of the model: if a worker does not see what this machine sees.
    UnavailableError, QpibenchError
        As :func:`qpibench.cluster.client.connected` and :func:`qpibench.cluster.tasks.run`.
    """
    paths = dict.fromkeys([*hidden, *(path for request, release in asked for path in request.paths(release))])
    models = Models(entry, (entry.sha256, code_sha256(entry.path)), asked, execution, tuple(paths))
    with connected(place, devices=devices) as connection:
        running = ModelOnWorkers(connection, models, entry, asked, execution, remedy)
        try:
            yield running
        finally:
            running.close()


@dataclass
class _Made:
    """A batch that is predicted ahead."""

    rows: NDArray[np.integer]
    future: Any
    reply: Reply | None = None


class _Plan:
    """The batches of a request that are not asked yet: those made on workers, and those that wait for that."""

    def __init__(self, waiting: Sequence[NDArray[np.integer]]) -> None:
        self.made: deque[_Made] = deque()
        self.waiting = deque(waiting)

    def is_of(self, rows: Sequence[NDArray[np.integer]]) -> bool:
        """Whether these batches are planned."""
        planned = [*(each.rows for each in self.made), *self.waiting]
        return len(planned) == len(rows) and all(map(np.array_equal, planned, rows))


class ModelOnWorkers:
    """A model on the workers of a cluster.

    Batches of the first requests are predicted first. Those of the request that is being asked have a share of the
    workers' memory of their own, so that they need not wait until those made ahead are asked for.
    """

    def __init__(
        self,
        connection: Connection,
        models: Models,
        entry: Entry,
        asked: Sequence[Asked],
        execution: Execution,
        remedy: str,
    ) -> None:
        self._client, self._asked, self._remedy = connection.client, asked, remedy
        self._most = BATCHES_PER_SLOT * (connection.slots or ASSUMED_SLOTS)
        # An outcome of a task is made again if its worker ends, and dropped by the workers when nobody asks for it.
        self._models = self._client.submit(_itself, models, pure=False)
        self._plans: dict[int, _Plan] = {}
        self._current = 0
        self.loaded = self.call(Call(method="load", number=0))
        declaration = self.loaded.declaration
        if declaration is not None:
            for number, (request, release) in enumerate(asked):
                try:
                    check_needs(entry, declaration, release, request)
                    index = request.index(release)
                except UsageError:  # predict will say it
                    continue
                batch_size = execution.batch_size or default_batch_size(release.grid)
                self._plans[number] = _Plan(batches(index, batch_size))
        self._make_ahead()

    def answers(self, asked: Asked) -> WorkersAnswers:
        """Return the model for one of the requests; they are asked in their order, but some may be left out."""
        request, release = asked
        numbers = (number for number, each in enumerate(self._asked) if each[0] is request and each[1] is release)
        return WorkersAnswers(self, next(numbers))

    def begin(self, number: int) -> None:
        """Go on to a request; forget those before it."""
        for earlier in [each for each in self._plans if each < number]:
            self.forget(earlier)
        self._current = number
        self._make_ahead()

    def expect(self, number: int, rows: Sequence[NDArray[np.integer]]) -> None:
        """Plan these batches of a request, unless they are already planned."""
        plan = self._plans.get(number)
        if plan is None or not plan.is_of(rows):
            self.forget(number)
            self._plans[number] = _Plan(rows)
            self._make_ahead()

    def first(self, number: int) -> Reply | None:
        """Return the reply to the next batch of a request, which is still to be asked; None if there is none."""
        plan = self._plans[number]
        if not plan.made:
            return None
        made = plan.made[0]
        if made.reply is None:
            made.reply = self._reply(_predict(number, made.rows), made.future)
        return made.reply

    def ask(self, number: int) -> Reply:
        """Return the reply to the next batch of a request."""
        reply = self.first(number)
        assert reply is not None
        self._plans[number].made.popleft()
        self._make_ahead()
        return reply

    def call(self, call: Call) -> Reply:
        """Make a call that was not planned."""
        return self._reply(call, self._submitted(call))

    def forget(self, number: int) -> None:
        """Forget the batches of a request that have not been asked."""
        plan = self._plans.pop(number, None)
        if plan is not None:
            tasks.cancel(self._client, [made.future for made in plan.made])

    def close(self) -> None:
        """Forget all batches, and let the workers end the model."""
        for number in list(self._plans):
            self.forget(number)
        self._models.release()

    def _make_ahead(self) -> None:
        """Give batches to the workers, as many as may be made before they are asked for."""
        room = self._most - sum(len(plan.made) for number, plan in self._plans.items() if number != self._current)
        for number, plan in sorted(self._plans.items()):
            own = number == self._current
            while plan.waiting and (len(plan.made) < self._most if own else room > 0):
                rows = plan.waiting.popleft()
                plan.made.append(_Made(rows, self._submitted(_predict(number, rows))))
                room -= not own

    def _submitted(self, call: Call) -> Any:
        return tasks.submit(self._client, self._models, call, priority=-call.number)

    def _reply(self, call: Call, future: Any) -> Reply:
        reply: Reply = tasks.outcome(self._client, future, what=self._words(call), remedy=self._remedy)
        if reply.failure is not None and reply.failure.kind == "died":
            # A batch system that ends a job kills its processes in any order. A model that dies by itself dies again.
            reply = tasks.outcome(self._client, self._submitted(call), what=self._words(call), remedy=self._remedy)
        return reply

    def _words(self, call: Call) -> str:
        name = self._asked[call.number][1].name
        return {
            "load": "Loading the model",
            "predict": f"Predicting a batch of release '{name}'",
            "encode": f"Encoding the kernels of release '{name}'",
            "autoencode": f"Auto-encoding kernels of release '{name}'",
        }[call.method]


class WorkersAnswers:
    """A model on workers that is asked for rows of one release, as :class:`qpibench.evaluation.answers.Answers`.

    A batch that follows one in which the model fails, or takes too long, may have been predicted already; that
    prediction is dropped.

    Parameters
    ----------
    model
        The model.
    number
        Number of the request.
    """

    def __init__(self, model: ModelOnWorkers, number: int) -> None:
        self._model, self._number, self._last = model, number, model.loaded
        self.seconds, self.ended, self.peak_memory_bytes = 0.0, False, 0

    @property
    def declaration(self) -> Declaration:
        """The model's declarations."""
        assert self._model.loaded.declaration is not None
        return self._model.loaded.declaration

    @property
    def environment(self) -> dict[str, str]:
        """Description of the machine and the software of the worker that was asked last."""
        return self._last.environment

    def __enter__(self) -> Self:
        if self._model.loaded.failure is not None:
            raise self._model.loaded.failure
        self._model.begin(self._number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._model.forget(self._number)

    def expect(self, batches: Sequence[NDArray[np.integer]]) -> None:
        """Let the workers predict these batches."""
        self._model.expect(self._number, batches)

    def fit(self) -> None:
        """Wait until a worker has fitted the model, which it does before the first batch."""
        reply = self._model.first(self._number)
        if reply is not None:
            self._note(reply)
            self.seconds = reply.fit_seconds or 0.0
            if reply.failure is not None and reply.stage == "fit":
                raise reply.failure

    def restart(self) -> None:
        """Do nothing: a worker starts the model anew after a failure."""
        self.ended = False

    def predict(self, rows: NDArray[np.integer]) -> dict[str, NDArray[Any]]:
        """Return the arrays of a predictions file for the next batch that is expected."""
        return self._arrays(self._model.ask(self._number))

    def encode_kernels(self, batch_size: int) -> NDArray[np.float32]:
        """Return the latents (kernel, d) of the kernels of the release."""
        call = Call(method="encode", number=self._number, batch_size=batch_size)
        return self._arrays(self._model.call(call))["latents"]

    def autoencode_kernels(self, chosen: NDArray[np.integer], batch_size: int) -> NDArray[np.float32]:
        """Return the chosen kernels (kernel, y, x), encoded and decoded by the model."""
        call = Call(method="autoencode", number=self._number, rows=chosen, batch_size=batch_size)
        return self._arrays(self._model.call(call))["kernels"]

    def _arrays(self, reply: Reply) -> dict[str, NDArray[Any]]:
        self._note(reply)
        if reply.failure is not None and reply.stage == "fit":
            raise QpibenchError(f"The model was fitted on one dask worker and not on another: {reply.failure.message}.")
        if reply.failure is not None:
            raise reply.failure
        return reply.arrays

    def _note(self, reply: Reply) -> None:
        self._last, self.seconds, self.ended = reply, reply.seconds, reply.ended
        self.peak_memory_bytes = max(self.peak_memory_bytes, reply.peak_memory_bytes)
        if reply.failure is not None and reply.stage == "import":
            kind = UnavailableError if reply.failure.kind == "missing package" else InvalidDataError
            raise kind(f"The model cannot be used on a dask worker: {reply.failure.message}.")
        if reply.declaration != self._model.loaded.declaration:
            raise UsageError("The dask workers see different weights of the model; give all of them the same files.")


def _itself(models: Models) -> Models:
    return models


def _predict(number: int, rows: NDArray[np.integer]) -> Call:
    return Call(method="predict", number=number, rows=rows)
