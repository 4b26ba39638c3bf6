"""One CUDA graph of several pieces of work that do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


class Branches:
    """Work on the device, each piece on a stream of its own, and all of it as one CUDA graph once it is captured.

    Parameters
    ----------
    pieces
        Functions that start work on the current stream, always the same work on the same memory.
    """

    def __init__(self, pieces: Sequence[Callable[[], None]]) -> None:
        self._pieces = pieces
        self._graph: torch.cuda.CUDAGraph | None = None
        # The same streams for all runs: autograd's nodes and the allocator's blocks belong to a stream.
        self._streams = [torch.cuda.Stream() for _ in pieces]

    def __call__(self) -> None:
        """Start all pieces; the current stream goes on when they have ended."""
        if self._graph is not None:
            self._graph.replay()
        else:
            self._start()

    def capture(self) -> None:
        """Make the graph of the pieces without doing their work; they must have run before.

        Raises
        ------
        RuntimeError
            If a piece does something that no graph can hold, such as waiting for the device.
        """
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        torch.cuda.synchronize()
        try:
            # Threads that prepare batches may allocate meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._start()
        finally:
            torch.cuda.set_stream(current)  # which a capture that fails does not
        self._graph = graph

    def _start(self) -> None:
        current = torch.cuda.current_stream()
        for piece, stream in zip(self._pieces, self._streams, strict=True):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                piece()
        for stream in self._streams:
            current.wait_stream(stream)
