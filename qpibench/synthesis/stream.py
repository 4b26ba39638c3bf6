"""Endless batches of fresh training images, made on several threads before they are requested.

Image i of a stream is a function of (spec, images per kernel, i) only. Step k with batch size n has the images k n to
(k + 1) n - 1. A run can therefore resume from one number, and the batch size, the threads and the device do not change
the sequence. All images are drawn in the training domain, so they share no random number with a release.

By default each image has a kernel of its own, because networks gain most from kernels that they have not seen. The
folds take turns as in the release.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from qpibench.errors import UsageError
from qpibench.physics.activation import check_map_mode
from qpibench.specs import ReleaseSpec, load_spec
from qpibench.synthesis.backends import get_backend
from qpibench.synthesis.contract import Backend
from qpibench.synthesis.fields import known_fields, stream_fields

IMAGES = 2**63 - 1
"""Number of images in the endless sequence; their indices are signed 64-bit integers."""

Batch = TypeVar("Batch")


@dataclass(frozen=True, kw_only=True)
class FreshBatches:
    """The batches of a stream by step; made by :func:`fresh_batches`.

    Several threads may call it at once.
    """

    spec: ReleaseSpec
    batch_size: int
    fields: tuple[str, ...]
    map_mode: str | None
    backend: Backend

    def __call__(self, step: int) -> Mapping[str, Any]:
        """The arrays of a step, in the memory of the backend's device; raises what :meth:`check` raises.

        See :func:`qpibench.synthesis.fields.stream_fields`.
        """
        start = self.check(step) * self.batch_size
        mode = self.map_mode or ""  # without a mode there is no map
        return self.backend.fresh(self.spec, start, start + self.batch_size, fields=self.fields, map_mode=mode)

    def check(self, step: int) -> int:
        """Check a step and return it as an integer.

        Raises
        ------
        UsageError
            If there is no such step.
        """
        return whole_number("step", step, 0, IMAGES // self.batch_size - 1)


def fresh_batches(
    spec: str | Path | ReleaseSpec,
    *,
    device: str = "cpu",
    batch_size: int = 256,
    fields: Sequence[str] | None = None,
    map_mode: str | None = None,
    images_per_kernel: int = 1,
) -> FreshBatches:
    """Describe a stream; for the parameters see :func:`qpibench.synthesis.torch_stream.stream`.

    Raises
    ------
    UsageError
        If there is no such spec, device, field or mode, a map is asked for without its mode, or a number is out of
        range.
    UnavailableError
        If the device is ``"cuda"`` and no GPU can be used.
    """
    if isinstance(spec, str | Path):
        spec = load_spec(spec)
    if not isinstance(spec, ReleaseSpec):
        raise UsageError(f"A stream needs the name or the file of a spec or a ReleaseSpec, not {type(spec).__name__}.")
    if fields is None:
        fields = [field for field in stream_fields(spec) if field != "activation_map" or map_mode is not None]
    if isinstance(fields, str) or not isinstance(fields, Sequence):
        raise UsageError(f"fields must be a list of names, such as ['image', 'kernel'], found {fields!r}.")
    known = known_fields(spec)
    unknown = [field for field in fields if field not in known]
    if unknown or not fields:
        wrong = f"A batch has no field '{unknown[0]}'" if unknown else "A batch needs at least one field"
        raise UsageError(f"{wrong}; choose among {', '.join(known)}.")
    check_map_mode(map_mode, fields)
    per_kernel = whole_number("images_per_kernel", images_per_kernel, 1, 2**31 - 1)
    return FreshBatches(
        # The limits of a release's file do not apply to a stream, so this copy is not validated again.
        spec=spec.model_copy(update={"observations_per_kernel": per_kernel}),
        batch_size=whole_number("batch_size", batch_size, 1, 2**31 - 1),
        fields=tuple(fields),
        map_mode=map_mode,
        backend=get_backend(device)[0],
    )


def ahead(function: Callable[[int], Batch], steps: Iterator[int], *, threads: int) -> Generator[Batch, None, None]:
    """Apply a function to steps on several threads; yield the batches in order.

    At most ``threads + 1`` batches are in progress or waiting, besides the one that the caller has.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="qpibench-stream")
    try:
        waiting = deque(pool.submit(copy_context().run, function, step) for step in islice(steps, threads + 1))
        for step in steps:
            waiting.append(pool.submit(copy_context().run, function, step))
            # A variable would keep the batch in memory until the next one is requested.
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def whole_number(name: str, value: object, low: int, high: int) -> int:
    """Check an option that must be a whole number from ``low`` to ``high``."""
    try:
        number = value.__index__()  # type: ignore[attr-defined]
    except AttributeError:
        number = None
    if number is None or isinstance(value, bool) or not low <= number <= high:
        raise UsageError(f"{name} must be a whole number from {low} to {high}, found {value!r}.")
    return int(number)
