"""Training batches for CUDA graphs: from images that are all on the device, or copied into fixed buffers.

A feed is loaded for a few hundred steps at a time. The index of the step among them is a tensor on the device, so all
steps run the same code and one CUDA graph serves all of them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learned.batches import Batch
from learned.release_source import ReleaseSource
from learned.source import Source

_held: dict[tuple[object, ...], Tensor] = {}


class Feed(Protocol):
    """Source of a stage's batches on the device."""

    def load(self, step: int, count: int) -> None:
        """Prepare ``count`` steps, the first of which is ``step``."""

    def prepare(self) -> None:
        """Prepare the next step. It is called before :meth:`batch`, outside of the graph."""

    def batch(self, place: Tensor) -> Batch:
        """Return the batch of the step with the index ``place`` (1,) among those loaded; a graph may capture it."""

    def close(self) -> None:
        """Stop the threads that prepare batches."""


def open_feed(source: Source, device: torch.device, *, most: int) -> Feed:
    """Open a feed: the images of a release are kept on the device, the batches of other sources are copied to it.

    Parameters
    ----------
    source
        Source of the images.
    device
        Device of the batches.
    most
        Greatest number of steps that are loaded at once.
    """
    if isinstance(source, ReleaseSource):
        return ResidentFeed(source, device, most=most)
    return CopyingFeed(source, device)


class ResidentFeed:
    """Feed that keeps all training images of a release on the device.

    Feeds of the same release share the images. An image of 64 x 64 pixels takes 16 KiB, its published map 4 KiB.
    """

    def __init__(self, source: ReleaseSource, device: torch.device, *, most: int) -> None:
        self._source, self._device = source, device
        self._images = np.sort(source.release.split("id", "train"))
        numbers = source.release.observation_kernel[self._images]
        self._kernels, kernel = np.unique(numbers, return_inverse=True)
        self._kernel = torch.from_numpy(kernel.astype(np.int64)).to(device)
        self._tables = {field: self._table(field) for field in source.fields}
        self._order = torch.zeros(most, source.rows(0, 1).shape[1], dtype=torch.int64, device=device)

    def load(self, step: int, count: int) -> None:
        places = np.searchsorted(self._images, self._source.rows(step, count))
        self._order[:count].copy_(torch.from_numpy(places))

    def prepare(self) -> None:
        pass

    def batch(self, place: Tensor) -> Batch:
        image = self._order.index_select(0, place)[0]
        kernel = self._kernel.index_select(0, image)
        taken = {
            field: table.index_select(0, kernel if self._is_of_kernels(field) else image)
            for field, table in self._tables.items()
        }
        if "activation_map" in taken:
            taken["activation_map"] = taken["activation_map"].float()
        return taken

    def close(self) -> None:
        pass

    def _table(self, field: str) -> Tensor:
        source = self._source
        key = (source.release.content_sha256, field, source.map_mode, self._device)
        if key not in _held:
            if self._is_of_kernels(field):
                _, first = np.unique(source.release.observation_kernel[self._images], return_index=True)
                values = source.field(field, self._images[first])
            else:
                values = source.field(field, self._images)
            _held[key] = torch.from_numpy(_narrow(field, values)).to(self._device)
        return _held[key]

    def _is_of_kernels(self, field: str) -> bool:
        """Return whether a field has the same value for all images of a kernel."""
        return field in ("kernel", "kernel_index") or field in self._source.release.kernels.parameters


class CopyingFeed:
    """Feed whose batches are made while the device computes, and copied into the same tensors in every step."""

    def __init__(self, source: Source, device: torch.device) -> None:
        self._source, self._device, self._next = source, device, 0
        self._ahead: Generator[Batch, None, None] | None = None
        self._batch: Batch = {}

    def load(self, step: int, count: int) -> None:
        if self._ahead is None or step != self._next:
            self.close()
            self._ahead, self._next = self._source.ahead(step), step

    def prepare(self) -> None:
        if self._ahead is None:
            raise ValueError("The feed was not loaded; call load before prepare.")
        batch, self._next = next(self._ahead), self._next + 1
        if not self._batch:
            self._batch = {field: torch.empty_like(tensor, device=self._device) for field, tensor in batch.items()}
        for field, tensor in batch.items():
            self._batch[field].copy_(tensor, non_blocking=True)

    def batch(self, place: Tensor) -> Batch:
        return dict(self._batch)

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None


def _narrow(field: str, values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Convert activation maps to bytes if all entries are integers below 256, as in the published maps."""
    if field != "activation_map":
        return values
    narrow = values.astype(np.uint8)
    return narrow if np.array_equal(narrow, values) else values
