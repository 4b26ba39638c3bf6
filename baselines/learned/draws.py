"""Random numbers of a training step: from torch's generator, or prepared in buffers that a CUDA graph can read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor

_given: ContextVar[Draws | None] = ContextVar("draws", default=None)


def normal_like(tensor: Tensor) -> Tensor:
    """Draw standard normal numbers with the shape, type, layout and device of a tensor."""
    draws = _given.get()
    return torch.randn_like(tensor) if draws is None else draws.take("normal", torch.empty_like(tensor))


def uniform(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Draw float32 numbers uniformly from 0 to below 1."""
    draws = _given.get()
    return (
        torch.rand(shape, device=device) if draws is None else draws.take("uniform", torch.empty(shape, device=device))
    )


class Draws:
    """Random numbers for the steps of one run, in buffers whose memory addresses do not change.

    The numbers of a step equal those that :func:`normal_like` and :func:`uniform` draw after ``torch.manual_seed`` with
    the step's seed. The first step determines the shapes; every later step must draw the same shapes in the same order.

    Parameters
    ----------
    device
        Where the numbers are drawn.
    """

    def __init__(self, device: torch.device) -> None:
        self._generator = torch.Generator(device)
        self._buffers: list[tuple[str, Tensor]] = []
        self._next = 0

    def fill(self, seed: int) -> None:
        """Draw all numbers of a step into the buffers."""
        self._generator.manual_seed(seed)
        for kind, buffer in self._buffers:
            self._draw(kind, buffer)

    @contextmanager
    def given(self) -> Iterator[None]:
        """Let :func:`normal_like` and :func:`uniform` return the prepared numbers in the context, which is one step."""
        self._next = 0
        token = _given.set(self)
        try:
            yield
        finally:
            _given.reset(token)

    def take(self, kind: Literal["normal", "uniform"], like: Tensor) -> Tensor:
        """Return the next numbers of the step, in a buffer with the shape and memory layout of ``like``.

        Numbers are drawn in the order of memory, so the layout decides which entry gets which number.

        Raises
        ------
        ValueError
            If the first step drew another kind or shape at this place.
        """
        if self._next == len(self._buffers):
            self._draw(kind, like)
            self._buffers.append((kind, like))
        known, buffer = self._buffers[self._next]
        if (known, buffer.shape, buffer.stride(), buffer.dtype) != (kind, like.shape, like.stride(), like.dtype):
            raise ValueError(
                f"A step draws {kind} numbers of {tuple(like.shape)}, where the first one drew {known} numbers of"
                f" {tuple(buffer.shape)}."
            )
        self._next += 1
        return buffer

    def _draw(self, kind: str, buffer: Tensor) -> None:
        if kind == "normal":
            buffer.normal_(generator=self._generator)
        else:
            buffer.uniform_(generator=self._generator)
