"""A CUDA graph with independent branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


class Branches:
    """Independent pieces of GPU work, each on its own stream; after :meth:`capture` all of them run as one CUDA graph.

    Parameters
    ----------
    pieces
        Functions that start work on the current stream. Every call must do the same work on the same memory.
    """

    def __init__(self, pieces: Sequence[Callable[[], None]]) -> None:
        self._pieces = pieces
        self._graph: torch.cuda.CUDAGraph | None = None
        # Streams are made once, because autograd's nodes and the allocator's blocks belong to a stream.
        self._streams = [torch.cuda.Stream() for _ in pieces]

    def __call__(self) -> None:
        """Start all pieces; later work on the current stream waits for them."""
        if self._graph is not None:
            self._graph.replay()
        else:
            self._start()

    def capture(self) -> None:
        """Record the pieces as a graph, without running them. Every piece must have run before.

        Raises
        ------
        RuntimeError
            If a piece cannot be captured, for example because it waits for the device.
        """
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        torch.cuda.synchronize()
        try:
            # Threads that prepare batches may allocate memory during the capture.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._start()
        finally:
            torch.cuda.set_stream(current)  # a failed capture does not reset it
        self._graph = graph

    def _start(self) -> None:
        current = torch.cuda.current_stream()
        for piece, stream in zip(self._pieces, self._streams, strict=True):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                piece()
        for stream in self._streams:
            current.wait_stream(stream)
