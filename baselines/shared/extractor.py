"""What the classical entries share: one observation in, one extraction out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qpibench import Batch, Prediction
from qpibench.grid import Grid
from shared.scatterers import Scatterers, scatterers_of

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One image with its scatterers.

    Attributes
    ----------
    image
        (y, x) float64 in native units; NaN where a pixel is not to be used.
    grid
        Grid of the image.
    scatterers
        Its scatterers, at least one.
    kernel_grid
        Grid on which the kernel is wanted.
    """

    image: Values
    grid: Grid
    scatterers: Scatterers
    kernel_grid: Grid

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(y, x): which pixels can be used."""
        return np.isfinite(self.image)


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What an entry finds in one observation.

    Attributes
    ----------
    kernel
        (y, x) on the kernel grid, in native units.
    kernel_full
        (2y-1, 2x-1) on the offsets of the observation's grid; None if the entry does not know it.
    std
        (y, x) standard deviation of every pixel of ``kernel``; None if the entry does not know it.
    diagnostics
        What else the entry found, by name: numbers, texts and arrays.
    """

    kernel: Values
    kernel_full: Values | None = None
    std: Values | None = None
    diagnostics: Mapping[str, object] = field(default_factory=dict)


class Extractor(ABC):
    """An entry that extracts the kernel of every image from that image alone."""

    needs = "raster"

    @abstractmethod
    def extract(self, observation: Observation) -> Extraction:
        """Extract the kernel of one observation.

        Raises
        ------
        ValueError
            If the observation shows no kernel, or fewer pixels than the entry needs.
        """

    def predict(self, batch: Batch) -> Prediction:
        """Extract the kernel of every image of a batch; where no scatterer is told, the kernel is zero.

        A batch in which no image has scatterers has neither ``kernel_full`` nor ``std``.
        """
        found = [self._one(batch, i) for i in range(len(batch))]
        return Prediction(
            kernel=_stacked(found, "kernel", batch.kernel_grid),
            kernel_full=_known(found, "kernel_full", batch.grid.offsets),
            std=_known(found, "std", batch.kernel_grid),
        )

    def _one(self, batch: Batch, i: int) -> Extraction | None:
        scatterers = scatterers_of(batch, i)
        if not len(scatterers.row):
            return None
        image = batch.image[i].astype(np.float64)
        return self.extract(
            Observation(image=image, grid=batch.grid, scatterers=scatterers, kernel_grid=batch.kernel_grid)
        )


def _stacked(found: list[Extraction | None], name: str, grid: Grid) -> NDArray[np.float32]:
    """Stack an array of every extraction; where there is none, it is zero."""
    nothing = np.zeros(grid.shape)
    arrays = [nothing if one is None else getattr(one, name) for one in found]
    return np.array(arrays, dtype=np.float32).reshape(len(arrays), *grid.shape)


def _known(found: list[Extraction | None], name: str, grid: Grid) -> NDArray[np.float32] | None:
    """Stack an array of every extraction if there are extractions and all have it."""
    known = [getattr(one, name) for one in found if one is not None]
    return None if not known or any(array is None for array in known) else _stacked(found, name, grid)
