"""Kernel families: one file per formula, found by its name.

A family is a module with the members of :class:`Family`; :mod:`qpibench.families.eq7` is the first. Its small compiled
functions call :mod:`qpibench.arithmetic.superposition`. For a GPU it needs ``kernels_cuda/families/NAME.cuh`` as well.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench import registry
from qpibench.columns import Column
from qpibench.errors import UsageError

if TYPE_CHECKING:
    from qpibench.arithmetic.superposition import Axes, Formulas, Scatterers

MAX_NAME_LENGTH = 16
"""Most bytes of a family's name: a release stores so many."""

Parameters = Mapping[str, NDArray[Any]]
"""The columns of some kernels by name, (kernel,) each."""


class KernelSpec(BaseModel):
    """The kernels of a release: how many, of which family. A family's `Ranges` add what it draws from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    count: Annotated[int, Field(ge=1, lt=2**31)]


class Family(Protocol):
    """What the module of a family defines.

    Attributes
    ----------
    Ranges
        Its part of a spec, a :class:`KernelSpec`.
    COLUMNS
        Parameters of a kernel.
    STRATUM
        The int32 column by which releases are split and scores broken down; it also chooses the compiled formula.
    UNIFORMS
        Uniform numbers that a kernel is drawn from.
    EXAMPLE
        What it draws from in the tests: fields of its `Ranges` besides family and count, for a field of 10 nm with 64
        pixels.
    """

    Ranges: type[KernelSpec]
    COLUMNS: tuple[Column, ...]
    STRATUM: str
    UNIFORMS: int
    EXAMPLE: Mapping[str, Any]

    def strata(self, ranges: Any, start: int, stop: int) -> NDArray[np.int32]:
        """Stratum of kernels ``start`` to ``stop`` of an endless sequence; no chance is involved."""

    def stratum_label(self, stratum: int) -> str:
        """A stratum in words, for tables; -1 is unknown."""

    def parameters(
        self, ranges: Any, stratum: NDArray[np.int32], uniform: NDArray[np.float64]
    ) -> dict[str, NDArray[Any]]:
        """The columns from the strata, (kernel,), and uniform numbers, (kernel, UNIFORMS), with + - * / alone."""

    def shortest_period_nm(self, ranges: Any) -> float:
        """The shortest period that a kernel may have; pixels must resolve it."""

    def wavevector(self, parameters: Parameters) -> NDArray[np.float64]:
        """Length of the q at which ripples of the kernels show, (kernel,) rad/nm, 2 pi included; NaN if not known."""

    def describe(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """The parameters of one kernel in words, as far as they are known."""

    def reference(self, dx: ArrayLike, dy: ArrayLike, **parameters: Any) -> NDArray[np.float64]:
        """A kernel at offsets in nm from the scatterer, float64, as the formula is written."""

    def coefficients(self, parameters: Parameters) -> NDArray[np.float64]:
        """The table of :class:`qpibench.arithmetic.superposition.Formulas`."""

    def superpose(
        self, axes: Axes, row: NDArray[np.int64], formulas: Formulas, scatterers: Scatterers, image: NDArray[np.float32]
    ) -> None:
        """Fill images (observation, y, x) with superpositions; ``row`` (observation,) says which kernel each shows."""

    def kernel_images(self, axes: Axes, formulas: Formulas, image: NDArray[np.float32]) -> None:
        """Fill images (kernel, y, x) with those of single scatterers."""


class FamilyOnGpu(Family, Protocol):
    """What a family with a header in ``kernels_cuda/families/`` defines beside that.

    Its columns but the stratum are float64, and four uniform numbers are enough for it.
    """

    def gpu_ranges(self, ranges: Any) -> tuple[float, float, float, float]:
        """The numbers from which the header draws."""


def family_names() -> tuple[str, ...]:
    """Names of all families."""
    return registry.names(sys.modules[__name__])


def get_family(name: str) -> Family:
    """The family of a name.

    Raises
    ------
    UsageError
        If there is none, or its name is too long.
    """
    family = cast(Family, registry.load(sys.modules[__name__], name, "kernel family"))
    if len(name.encode()) > MAX_NAME_LENGTH:
        raise UsageError(
            f"The kernel family '{name}' has a name of more than {MAX_NAME_LENGTH} bytes; rename its file."
        )
    return family
