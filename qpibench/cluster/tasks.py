"""Independent tasks on the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from qpibench import __version__, errors
from qpibench.errors import QpibenchError, UsageError
from qpibench.extras import optional_module
from qpibench.notices import shown, warn

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

RETRIES = 2
"""How often a task that failed is tried again. A task whose worker ended is tried as often as dask is configured to."""

RESUME = "run the same command with --resume added to continue"


class LostError(QpibenchError):
    """The scheduler, or every worker that took a task, was lost."""


@dataclass(frozen=True)
class _Done(Generic[Outcome]):
    """Outcome of a task, or the error that no further attempt would change, and what the user should read of it."""

    outcome: Outcome | None
    error: QpibenchError | None
    warnings: tuple[str, ...]


def run(
    client: Any, function: Callable[[Item], Outcome], items: Sequence[Item], *, what: str
) -> Iterator[tuple[Item, Outcome]]:
    """Call a function with each item on the workers; yield items with outcomes in the order of completion.

    A call that fails is tried again, at most :data:`RETRIES` times, and so is one whose worker ended. UsageError,
    InvalidDataError and UnavailableError are raised at once, because they would come again. If the consumer stops
    early, calls that have not begun are cancelled.

    Parameters
    ----------
    client
        The `distributed.Client`.
    function
        A function, or an object that can be called; it is pickled. It may be called twice with the same item, also at
        the same time.
    items
        Its arguments.
    what
        What an item is, for messages, such as ``"Shard"``.

    Raises
    ------
    LostError
        If the scheduler is lost, or a task ends every worker that tries it.
    QpibenchError
        The error of a call, of the class that has its exit code.
    """
    distributed = optional_module("distributed", "--dask")
    futures = client.map(_attempt, items, function=function, version=__version__, retries=RETRIES, pure=False)
    of_future = dict(zip(futures, items, strict=True))
    try:
        with client.as_current():
            completed = distributed.as_completed(futures)
        for future in completed:
            item = of_future.pop(future)
            yield item, outcome(client, future, what=f"{what} {item}")
    finally:
        cancel(client, list(of_future))


def submit(client: Any, function: Any, item: object, *, priority: int = 0) -> Any:
    """Call a function, or the object of a future that can be called, with an item on a worker; return the future.

    The call is retried as those of :func:`run`. Of two calls that wait, that of the higher priority is made first.
    """
    return client.submit(
        _attempt, item, function=function, version=__version__, retries=RETRIES, priority=priority, pure=False
    )


def outcome(client: Any, future: Any, *, what: str, remedy: str = RESUME) -> Any:
    """Wait for the outcome of a call, and release its future.

    Parameters
    ----------
    client
        The `distributed.Client`.
    future
        The future.
    what
        What is called, for messages.
    remedy
        What the user may do if it fails.

    Raises
    ------
    LostError, QpibenchError
        As :func:`run`.
    """
    distributed = optional_module("distributed", "--dask")
    error = future.exception()
    if future.status == "cancelled":
        raise LostError(f"The dask scheduler at {client.scheduler.address} was lost; {remedy}.")
    if isinstance(error, QpibenchError):
        raise error
    if isinstance(error, distributed.KilledWorker):
        raise LostError(
            f"{what} was given up, because every worker that tried it ended, the last at"
            f" {error.last_worker.address}; look for the reason there, such as too little memory, and {remedy}."
        )
    if error is not None:
        raise QpibenchError(f"{what} failed on a worker: {type(error).__name__}: {error}; {remedy}.") from error
    try:
        done = future.result()
    except (OSError, distributed.CancelledError) as lost:
        raise LostError(f"The dask scheduler at {client.scheduler.address} was lost; {remedy}.") from lost
    future.release()  # so that it is not made again if its worker ends
    for sentence in done.warnings:
        warn(sentence.removeprefix("Warning: "))
    if done.error is not None:
        raise done.error
    return done.outcome


def cancel(client: Any, futures: Sequence[Any]) -> None:
    """Cancel the calls that have not begun, and forget the others."""
    if client.status == "running":
        client.cancel(list(futures), force=True)


def _attempt(item: Item, *, function: Callable[[Item], Outcome], version: str) -> _Done[Outcome]:
    """Run one task on a worker."""
    said: list[str] = []
    try:
        if version != __version__:
            raise UsageError(
                f"A dask worker has qpibench {__version__}, and this is qpibench {version}; install one version on all."
            )
        with shown(notes=lambda _: None, warnings=said.append):
            return _Done(function(item), None, tuple(said))
    except QpibenchError as error:
        plain = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)(str(error))
        if plain.exit_code == QpibenchError.exit_code:
            raise plain from None
        return _Done(None, plain, tuple(said))
