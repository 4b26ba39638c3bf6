"""Applies a function to many items on a few threads, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from itertools import islice
from typing import TypeVar

from qpibench.processors import processors

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def as_completed(
    function: Callable[[Item], Outcome], items: Iterable[Item], *, threads: int | None = None
) -> Iterator[tuple[Item, Outcome]]:
    """Apply a function to all items on several threads; yield each item with its result, in the order of completion.

    Items are taken from the iterable as threads become free. If the consumer stops early or a call raises an error, no
    further call starts, and this function waits for the calls that are running.
    """
    count = threads or processors()
    queue = iter(items)
    with ThreadPoolExecutor(count) as pool:
        running: dict[Future[Outcome], Item] = {}

        def submit(number: int) -> None:
            for item in islice(queue, number):
                running[pool.submit(copy_context().run, function, item)] = item

        try:
            submit(2 * count)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    outcome = future.result()
                    item = running.pop(future)
                    submit(1)
                    yield item, outcome
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
