"""The argument of fit(train): the training role of a release, whose rows are fetched on access."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from qpibench.tasks.batch import Batch

MAX_ROWS = 256
"""Largest number of rows fetched at once."""


@dataclass(frozen=True, kw_only=True)
class TrainBatch(Batch):
    """Inputs and their true kernels.

    Attributes
    ----------
    kernel
        (n, y, x) float32: the true kernel of every observation, on ``kernel_grid``.
    """

    kernel: NDArray[np.float32]


class Train:
    """A lazy sequence of observations with their kernels. It holds the kernels and one batch, never all images.

    ``train[5]``, ``train[10:20]`` and ``train[array_of_rows]`` are each a :class:`TrainBatch`.

    Attributes
    ----------
    kernel_index
        (observation,) int32: index in ``kernels`` of the kernel that each observation shows.
    grid, kernel_grid
        Grids of the observations and of the kernels.
    """

    def __init__(
        self,
        *,
        kernel_index: NDArray[np.int32],
        grid: Grid,
        kernel_grid: Grid,
        fetch_rows: Callable[[NDArray[np.int64]], Batch],
        fetch_kernels: Callable[[], NDArray[np.float32]],
    ) -> None:
        self.kernel_index, self.grid, self.kernel_grid = kernel_index, grid, kernel_grid
        self._fetch_rows, self._fetch_kernels = fetch_rows, fetch_kernels

    @cached_property
    def kernels(self) -> NDArray[np.float32]:
        """Kernels of the training role, each once, (kernel, y, x) float32."""
        return self._fetch_kernels()

    def __len__(self) -> int:
        return len(self.kernel_index)

    def __getitem__(self, rows: int | slice | NDArray[np.integer]) -> TrainBatch:
        chosen = np.atleast_1d(np.arange(len(self), dtype=np.int64)[rows])
        parts = [self._fetch_rows(chosen[at : at + MAX_ROWS]) for at in range(0, len(chosen), MAX_ROWS)]
        parts = parts or [self._fetch_rows(chosen)]
        inputs = {
            name: None if getattr(parts[0], name) is None else np.concatenate([getattr(part, name) for part in parts])
            for name in ("image", "activation_map", "position_nm")
        }
        kernel = self.kernels[self.kernel_index[chosen]]  # training is on releases with one species
        return TrainBatch(**inputs, grid=self.grid, kernel_grid=self.kernel_grid, kernel=kernel)  # type: ignore[arg-type]

    def batches(self, size: int) -> Iterator[TrainBatch]:
        """Yield all rows in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]
