"""Blocks of work on a few threads, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from qpibench.processors import processors

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def as_completed(
    function: Callable[[Item], Answer], items: Iterable[Item], *, threads: int | None = None
) -> Iterator[tuple[Item, Answer]]:
    """Apply a function to all items on several threads; yield each item with its answer, in the order of completion.

    Items are taken as threads become free. If the consumer stops early or a call raises, no further call is started,
    and those under way are awaited.
    """
    count = threads or processors()
    queue = iter(items)
    with ThreadPoolExecutor(count) as pool:
        running: dict[Future[Answer], Item] = {}

        def submit(number: int) -> None:
            for item in islice(queue, number):
                running[pool.submit(function, item)] = item

        try:
            submit(2 * count)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    answer = future.result()
                    item = running.pop(future)
                    submit(1)
                    yield item, answer
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
