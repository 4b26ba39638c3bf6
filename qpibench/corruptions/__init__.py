"""Corruptions: imperfections of measured images and of what is known about them, one file each, found by its name.

A corruption is a module with the members of :class:`Corruption`, such as :mod:`qpibench.corruptions.white_noise`. Each
draws its random numbers from streams of its own, so that leaving one out does not change the others. A corruption of
images may have a CUDA kernel, ``kernels_cuda/NAME.cu``; without one, the CPU applies it, for either backend.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from qpibench import registry
from qpibench.columns import Column
from qpibench.grid import Grid

if TYPE_CHECKING:
    from qpibench.specs.spec import ReleaseSpec

Stage = Literal["scatterers", "image", "told"]
"""What a corruption changes: the scatterers before superposition, the image, or the positions a model is told."""

STAGES: tuple[Stage, ...] = ("scatterers", "image", "told")


@dataclass(kw_only=True)
class Draft:
    """Observations that are being generated; corruptions change its arrays in place.

    Attributes
    ----------
    grid
        Grid of the images.
    margin_nm
        How far outside the field scatterers are drawn, ``scatterers.margin_nm`` of the spec.
    to_sites
        Function that moves scatterers to lattice sites, :meth:`qpibench.families.OnLattice.snap` without its ranges.
        None if the family's scatterers may lie anywhere. Scatterers that are added to images are moved after the stage.
    key
        Function from the tag of a stream to its key; see :func:`qpibench.arithmetic.streams.stream_key`.
    start, per_kernel
        Index of the first observation, and number of observations of a kernel. Observation i is image
        ``i % per_kernel`` of kernel ``i // per_kernel``; random words are addressed by these two numbers.
    n_drawn
        (observation,) int32: the number of scatterers that the spec's ``scatterers`` draw.
    n_scatterers
        (observation,) int32: the number of scatterers in the image, those included that corruptions add.
    position_nm, told_position_nm
        (observation, scatterer, xy) float64 in nm, NaN after the last: the true positions, and those that a model is
        told. Corruptions of the stage ``scatterers`` change only the true positions. After them, the told positions
        are the true ones of the drawn scatterers, without added scatterers. Corruptions of the stage ``told`` change
        the told positions.
    told_index
        (observation, scatterer) int32: the thing of which each told position tells. It is k for the drawn scatterer k,
        ``n_drawn`` or more for a position without a scatterer, and -1 after the last. A corruption that moves told
        positions to other places of the array moves these numbers too.
    amplitude
        (observation, scatterer) float32: factor of the image of each scatterer, 1 unless a corruption changes it.
    species
        (observation, scatterer) int32: the number of each scatterer's kernel among those of the observation, 0 or 1.
        Corruptions do not see it: species are drawn after those of the stage ``scatterers``.
    image
        (observation, y, x) float32; without pixels if the images are not needed. Corruptions of the instrument get it
        with a border; see :class:`OfInstrument`.
    variance
        (observation,) float64: variance of the clean image, which is the image after the corruptions of the instrument,
        for the corruptions of images after these. Where the family has a core, only pixels count that lie outside the
        cores of all true positions (all pixels, if none does).
    kernel_rms
        (observation,) float64: root of the mean square of the kernel's image, for corruptions with
        `needs_kernel_rms`; otherwise without entries.
    """

    grid: Grid
    margin_nm: float
    to_sites: Callable[..., None] | None = None
    key: Callable[[str], np.uint64]
    start: int
    per_kernel: int
    n_drawn: NDArray[np.int32]
    n_scatterers: NDArray[np.int32]
    position_nm: NDArray[np.float64]
    told_position_nm: NDArray[np.float64]
    told_index: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    amplitude: NDArray[np.float32]
    species: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    image: NDArray[np.float32]
    variance: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    kernel_rms: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.n_scatterers)


class Corruption(Protocol):
    """Members of the module of a corruption.

    Attributes
    ----------
    STAGE, ORDER
        When it acts: by stage, and within a stage in ascending order.
    Settings
        Its table in a spec.
    COLUMNS
        Its columns in a release.
    EXAMPLE
        Settings for the tests.
    """

    STAGE: Stage
    ORDER: int
    Settings: type[BaseModel]
    COLUMNS: tuple[Column, ...]
    EXAMPLE: Mapping[str, Any]

    def corrupt(self, settings: Any, draft: Draft) -> dict[str, NDArray[Any]]:
        """Change a draft in place; return the columns by name, (observation,) or (observation, scatterer)."""


class AddsScatterers(Protocol):
    """Additional member of a corruption that adds scatterers to an image or to the told positions.

    Scatterers that are added to an image come after the drawn ones.
    """

    def extra_scatterers(self, settings: Any, spec: ReleaseSpec) -> int:
        """The largest number of added scatterers; the arrays of a draft have this many more places."""


class Restricted(Protocol):
    """Additional member of a corruption that is not possible with every spec."""

    def check(self, settings: Any, spec: ReleaseSpec) -> None:
        """Raise ValueError if a spec cannot have these settings.

        Its message is one clause with the field's path, the value and what is allowed.
        """


class ReachesOutside(Protocol):
    """Additional member of a corruption that places scatterers outside the field and its margin."""

    def outside_nm(self, settings: Any, spec: ReleaseSpec) -> float:
        """The largest distance in nm, along x or y, beyond the field and ``scatterers.margin_nm``."""


class ComparedWithKernels(Protocol):
    """Additional member of a corruption with columns that depend on the kernel's image."""

    def compare_with_kernels(
        self, columns: dict[str, NDArray[Any]], row: NDArray[np.integer], kernel_image: NDArray[np.float32]
    ) -> dict[str, NDArray[Any]]:
        """These columns, which streams lack; ``row`` (observation,) is a row of ``kernel_image`` (kernel, y, x)."""


class OfInstrument(Corruption, Protocol):
    """Additional members of a corruption of images that is a property of the instrument and needs pixels outside.

    It acts on the clean image. The image of the draft has ``border_px`` more pixels on every side than `corrupt` leaves
    in it, so that no pixel depends on an edge. Its order is below that of all other corruptions of images.

    Attributes
    ----------
    SHOWN_IN_KERNELS
        Whether the target, the image of a kernel, is corrupted as well. The random numbers must then be the same for
        all images of a kernel. `corrupt` gets a draft of one observation per kernel.
    """

    SHOWN_IN_KERNELS: bool

    def border_px(self, settings: Any, grid: Grid) -> int:
        """Number of pixels that are needed on every side."""


class RelativeToKernel(Protocol):
    """Additional member of a corruption of images that may use the root of the mean square of the kernel's image."""

    def needs_kernel_rms(self, settings: Any) -> bool:
        """Whether it is used."""


class OnGpu(Protocol):
    """Additional member of a corruption of images that has a CUDA kernel.

    The CUDA kernel is launched with a block of 256 threads for each observation. Its arguments are the index of the
    first observation (u64), the observations per kernel (u32), these numbers, the width and the height of the resulting
    image (int), and then

    - of a corruption of the instrument, the border (int), the images with that border on every side, which it may
      overwrite, and the resulting images (float);
    - of any other, the variances of the clean images and the rms of the kernels (double, (observation,); the second is
      not to be read without `needs_kernel_rms`), and the images (float);

    and at last the columns.
    """

    def numbers(self, settings: Any, key: Callable[[str], np.uint64], grid: Grid) -> tuple[np.generic, ...]:
        """The numbers, each with the type of its parameter."""


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


def is_of_instrument(corruption: Corruption) -> bool:
    """Whether a corruption has the members of :class:`OfInstrument`."""
    return hasattr(corruption, "border_px")


def corruption_columns() -> dict[str, Column]:
    """Columns that all corruptions declare, by name."""
    return {column.name: column for name in corruption_names() for column in get_corruption(name).COLUMNS}


def in_order(names: list[str]) -> list[str]:
    """Names of corruptions in the order in which they act.

    Raises
    ------
    ValueError
        If two have the same order in a stage.
    """
    place = {name: _place(get_corruption(name)) for name in names}
    ordered = sorted(names, key=lambda name: (place[name], name))
    for first, second in itertools.pairwise(ordered):
        if place[first] == place[second]:
            corruption = get_corruption(first)
            raise ValueError(
                f"'{first}' and '{second}' both have the order {corruption.ORDER} in the stage '{corruption.STAGE}', so"
                " the result is ambiguous; change ORDER in the file of one, or leave one out"
            )
    return ordered


def _place(corruption: Corruption) -> tuple[int, bool, int]:
    return STAGES.index(corruption.STAGE), not is_of_instrument(corruption), corruption.ORDER
