"""Training batches from the training role of a release, in a new random order in every epoch."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learned.batches import VALIDATION_BATCH, VALIDATION_IMAGES, Batch, batches_ahead, rows_of_this_process
from qpibench.errors import UsageError
from qpibench.release import Release
from qpibench.synthesis.cpu import as_fields, count_told
from qpibench.synthesis.rasterise import activation_maps
from qpibench.tasks.subset import stratified_order
from qpibench.training import SourceRecord

RELEASE_FIELDS = ("image", "kernel", "activation_map", "position_nm", "n_scatterers", "kernel_index", "index")
"""Fields of a batch besides the parameters of the kernels' family; shapes and types are those of
:func:`qpibench.synthesis.fields.stream_fields`."""


class ReleaseSource:
    """Source of batches from a release, see :class:`learned.source.Source`.

    The parameters are those of :func:`learned.source.open_source`.
    """

    def __init__(
        self,
        release: Release,
        *,
        seed: int,
        fields: tuple[str, ...],
        batch_size: int,
        map_mode: str | None,
        images_per_kernel: int | None,
    ) -> None:
        known = (*RELEASE_FIELDS, *release.kernels.parameters)
        for field in fields:
            if field not in known:
                raise UsageError(f"A batch of a release has no field '{field}'; choose among {', '.join(known)}.")
        self.release, self.fields, self.map_mode, self._seed = release, fields, map_mode, seed
        self.batch_size, self.grid = batch_size, release.grid
        self._part = rows_of_this_process(batch_size)
        self.record = SourceRecord(
            kind="release",
            name=release.name,
            spec_sha256=release.spec.sha256,
            content_sha256=release.content_sha256,
        )
        self._train, self._validation = (
            _at_most(images_per_kernel, _role(release, role), release) for role in ("train", "validation")
        )
        self.steps_per_epoch = -(-len(self._train) // batch_size)
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def batch(self, step: int) -> Batch:
        return self.read(self.rows(step, 1)[0])

    def rows(self, step: int, count: int) -> NDArray[np.int32]:
        """Return the image numbers (count, row) of this process's rows in the batches of ``count`` steps."""
        start, images = step * self.batch_size, count * self.batch_size
        epochs = range(start // len(self._train), -(-(start + images) // len(self._train)))
        order = np.concatenate([self._order(epoch) for epoch in epochs])
        first = start - epochs[0] * len(self._train)
        chosen: NDArray[np.int32] = self._train[order[first : first + images].reshape(count, -1)[:, self._part]]
        return chosen

    def ahead(self, start: int) -> Generator[Batch, None, None]:
        return batches_ahead(self.batch, start)

    def validation(self) -> Sequence[Batch]:
        return self._validation_batches

    @cached_property
    def _validation_batches(self) -> Sequence[Batch]:
        chosen = self._validation[:VALIDATION_IMAGES]
        return [self.read(chosen[at : at + VALIDATION_BATCH]) for at in range(0, len(chosen), VALIDATION_BATCH)]

    def _draw_order(self, epoch: int) -> NDArray[np.intp]:
        # The raw words of Philox never change between versions of NumPy; permutation() may.
        words = np.random.Philox(key=np.array([self._seed, epoch], dtype=np.uint64)).random_raw(len(self._train))
        return np.argsort(words, kind="stable")

    def read(self, rows: NDArray[np.int32]) -> Batch:
        """Return the fields of images of the release."""
        return {field: torch.from_numpy(self.field(field, rows)) for field in self.fields}

    def field(self, field: str, rows: NDArray[np.int32]) -> NDArray[Any]:
        """Return one field of images of the release."""
        release = self.release
        match field:
            case "index":
                return rows.astype(np.int64)
            case "kernel_index":
                return release.observation_kernel[rows].astype(np.int64)
            case _ if field in release.kernels.parameters:
                return as_fields(release.kernels.parameters)[field][release.observation_kernel[rows]]
            case "kernel":
                return release.kernels.image[release.observation_kernel[rows]]
            case "activation_map":
                marks = np.empty((len(rows), *self.grid.shape), np.float32)
                position = release.told_position_nm(rows)
                count = count_told(position)
                paper = self.map_mode == "paper"
                activation_maps(paper, self.grid.size_x_nm, self.grid.size_y_nm, count, position, marks)
                return marks
            case "n_scatterers":
                return release.take(field, rows).astype(np.int64)
            case _:
                return release.take(field, rows)


def _role(release: Release, role: str) -> NDArray[np.int32]:
    """Return the images of a role, ordered so that every kernel comes once before one comes twice."""
    rows = release.split("id", role)
    if not len(rows):
        raise UsageError(
            f"Release '{release.name}' has no image in the role {role} of the task 'id'; training needs it."
        )
    return stratified_order(rows, release.observation_kernel[rows], f"{release.content_sha256}/id/{role}")


def _at_most(count: int | None, rows: NDArray[np.int32], release: Release) -> NDArray[np.int32]:
    """Return the first ``count`` images of each kernel, in their order; all if it is None."""
    if count is None:
        return rows
    kernel = release.observation_kernel[rows]
    by_kernel = np.argsort(kernel, kind="stable")
    grouped = kernel[by_kernel]
    place = np.empty(len(rows), np.int64)
    place[by_kernel] = np.arange(len(rows)) - np.searchsorted(grouped, grouped)
    return rows[place < count]
