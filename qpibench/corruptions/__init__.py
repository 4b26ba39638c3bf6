"""Corruptions: one file for each thing that a microscope, or who reads its images, adds to the ideal; found by name.

A corruption is a module with the members of :class:`Corruption`; :mod:`qpibench.corruptions.white_noise` is the first.
Each is drawn in streams of its own and can be left out. One that acts on the image may have a CUDA kernel,
``kernels_cuda/NAME.cu``; one without is applied on the CPU, whatever makes the images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from qpibench import registry
from qpibench.columns import Column
from qpibench.grid import Grid

Stage = Literal["scatterers", "image", "told"]
"""What a corruption acts on: the scatterers before they are superposed, the image, or what a model is told of them."""

STAGES: tuple[Stage, ...] = ("scatterers", "image", "told")


@dataclass(kw_only=True)
class Draft:
    """A run of observations while it is being made: corruptions change its arrays in place.

    Attributes
    ----------
    grid
        Grid of the images.
    key
        Key of the stream of a purpose, from its tag; see :func:`qpibench.arithmetic.streams.stream_key`.
    start, per_kernel
        Number of the first observation, and observations of a kernel: observation i is image ``i % per_kernel`` of
        kernel ``i // per_kernel``, which are the counters of its draws.
    n_scatterers
        (observation,) int32.
    position_nm, told_position_nm
        (observation, scatterer, xy) float64, NaN behind the last: where scatterers are, and where a model is told that
        they are. Corruptions of the scatterers change only where they are. When all of those have acted, the model is
        told where the drawn scatterers are, and nothing of added ones; corruptions of what is told change that.
    amplitude
        (observation, scatterer) float32: by what the image of a scatterer is multiplied, 1 unless a corruption says
        otherwise.
    image
        (observation, y, x) float32; of no pixels as long as nobody wants to see it.
    """

    grid: Grid
    key: Callable[[str], np.uint64]
    start: int
    per_kernel: int
    n_scatterers: NDArray[np.int32]
    position_nm: NDArray[np.float64]
    told_position_nm: NDArray[np.float64]
    amplitude: NDArray[np.float32]
    image: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.n_scatterers)


class Corruption(Protocol):
    """What the module of a corruption defines.

    Attributes
    ----------
    STAGE, ORDER
        When it acts: corruptions of one stage follow each other by their order.
    Settings
        Its table in a spec.
    COLUMNS
        What a release tells of it.
    EXAMPLE
        Settings for the tests.
    """

    STAGE: Stage
    ORDER: int
    Settings: type[BaseModel]
    COLUMNS: tuple[Column, ...]
    EXAMPLE: Mapping[str, Any]

    def corrupt(self, settings: Any, draft: Draft) -> dict[str, NDArray[Any]]:
        """Change a draft in place; the columns that this gives, by name, (observation,) or (observation, scatterer)."""


class AddsScatterers(Protocol):
    """What a corruption defines beside that, if it adds scatterers, to an image or to what is told of it.

    Added scatterers take the places behind the drawn ones.
    """

    def extra_scatterers(self, settings: Any) -> int:
        """How many at most; the arrays of a draft have so many more places, which are empty."""


class ComparedWithKernels(Protocol):
    """What a corruption defines beside that, if it tells how it compares with the kernel's own image."""

    def compare_with_kernels(
        self, columns: dict[str, NDArray[Any]], row: NDArray[np.integer], kernel_image: NDArray[np.float32]
    ) -> dict[str, NDArray[Any]]:
        """More columns, in releases alone; ``row`` (observation,) is a row of ``kernel_image`` (kernel, y, x)."""


class OnGpu(Protocol):
    """What a corruption of images defines beside that, if there is a CUDA kernel for it.

    The CUDA kernel is launched with a block of 256 threads for each observation, and its arguments are the first
    observation, the observations per kernel, these numbers, the pixels of an image, the images, and its columns.
    """

    def numbers(self, settings: Any, key: Callable[[str], np.uint64]) -> tuple[np.generic, ...]:
        """The numbers, each of the type of its parameter."""


def corruption_names() -> tuple[str, ...]:
    """Names of all corruptions."""
    return registry.names(sys.modules[__name__])


def get_corruption(name: str) -> Corruption:
    """The corruption of a name.

    Raises
    ------
    UsageError
        If there is none.
    """
    return cast(Corruption, registry.load(sys.modules[__name__], name, "corruption"))


def corruption_columns() -> dict[str, Column]:
    """Columns that all corruptions declare, by name."""
    return {column.name: column for name in corruption_names() for column in get_corruption(name).COLUMNS}


def in_order(names: list[str]) -> list[str]:
    """Names of corruptions in the order in which they act."""
    modules = {name: get_corruption(name) for name in names}
    return sorted(modules, key=lambda name: (STAGES.index(modules[name].STAGE), modules[name].ORDER, name))
