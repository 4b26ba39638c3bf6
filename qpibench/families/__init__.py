"""Kernel families: one file per formula, found by its name.

A family is a module with the members of :class:`Family` and those of one of its two kinds:

- :class:`ClosedForm`, such as :mod:`qpibench.families.eq7`: a formula that is evaluated for every pixel and scatterer.
  Its compiled functions call :mod:`qpibench.arithmetic.superposition`. To run on a GPU it also needs
  ``kernels_cuda/families/NAME.cuh``.
- :class:`Tabulated`: kernels that are sampled on a lattice. :mod:`qpibench.arithmetic.tables` superposes their
  splines, on either backend.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeGuard, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench import registry
from qpibench.columns import Column
from qpibench.errors import UsageError

if TYPE_CHECKING:
    from qpibench.arithmetic.superposition import Axes, Formulas, Scatterers

MAX_NAME_LENGTH = 16
"""Largest length of a family's name in bytes; a release stores names of this length."""

Parameters = Mapping[str, NDArray[Any]]
"""The columns of some kernels by name, (kernel,) each."""


class KernelSpec(BaseModel):
    """The kernels of a release: their family and number. A family's `Ranges` adds the ranges of its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str = Field(description="name of the formula")
    count: Annotated[int, Field(ge=1, lt=2**31)] = Field(description="number of kernels")


class Family(Protocol):
    """Members of the module of any kernel family.

    Attributes
    ----------
    Ranges
        The table ``[kernels]`` of a spec, a :class:`KernelSpec`.
    COLUMNS
        The parameters of a kernel.
    STRATUM
        Name of the int32 column by which releases are split and scores are broken down.
    UNIFORMS
        How many uniform random numbers determine a kernel.
    EXAMPLE
        Ranges for the tests: fields of `Ranges` besides family and count, for a field of 10 nm with 64 pixels.
    """

    Ranges: type[KernelSpec]
    COLUMNS: tuple[Column, ...]
    STRATUM: str
    UNIFORMS: int
    EXAMPLE: Mapping[str, Any]

    def strata(self, ranges: Any, start: int, stop: int) -> NDArray[np.int32]:
        """Strata of the kernels ``start`` to ``stop`` of an endless sequence; they do not depend on random numbers."""

    def stratum_label(self, stratum: int) -> str:
        """A stratum in words, for tables; -1 means unknown."""

    def parameters(
        self, ranges: Any, stratum: NDArray[np.int32], uniform: NDArray[np.float64]
    ) -> dict[str, NDArray[Any]]:
        """The columns from the strata, (kernel,), and uniform numbers, (kernel, UNIFORMS), by + - * / only."""

    def shortest_period_nm(self, ranges: Any) -> float:
        """Shortest period in nm that a kernel may have; the pixels must resolve it."""

    def wavevector(self, parameters: Parameters) -> NDArray[np.float64]:
        """Length of the wavevector q of the kernels' ripples, (kernel,) rad/nm, 2 pi included; NaN if not known."""

    def describe(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """The known parameters of one kernel in words."""

    def core_radius_nm(self, ranges: Any) -> float:
        """Radius in nm of the core of a kernel, which is left out of variances and of some scores; 0 if none is."""

    def reference(self, dx: ArrayLike, dy: ArrayLike, **parameters: Any) -> NDArray[np.float64]:
        """The formula in float64 at offsets in nm from the scatterer."""


class ClosedForm(Family, Protocol):
    """Additional members of a family with a formula for each pixel; `STRATUM` selects the compiled formula."""

    def coefficients(self, parameters: Parameters) -> NDArray[np.float64]:
        """The table of :class:`qpibench.arithmetic.superposition.Formulas`."""

    def superpose(
        self, axes: Axes, row: NDArray[np.int64], formulas: Formulas, scatterers: Scatterers, image: NDArray[np.float32]
    ) -> None:
        """Fill images (observation, y, x) with superpositions; ``row`` (observation, species) has the kernels of each.

        The kernels of an observation have the same stratum.
        """

    def kernel_images(self, axes: Axes, formulas: Formulas, image: NDArray[np.float32]) -> None:
        """Fill images (kernel, y, x), each with the image of a single scatterer at the origin."""


class Tabulated(Family, Protocol):
    """Additional members of a family whose kernels are sampled on a lattice, on the CPU for both backends."""

    def resolution_nm(self, ranges: Any) -> float:
        """Largest distance of samples at which a septic B-spline through them is the kernel.

        The error may be 1e-5 of the kernel's largest value outside its core, and inside the core 1e-4 of the largest
        value. Samples are a whole number per pixel.
        """

    def reach_nm(self, ranges: Any) -> float:
        """The kernel is exactly 0 at offsets larger than this along x or along y; infinite if there is no such length.

        Samples up to 24 distances beyond it are part of the spline; they should continue the kernel smoothly.
        """

    def samples(
        self, ranges: Any, parameters: Parameters, dx_nm: NDArray[np.float64], dy_nm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The kernels (kernel, dy, dx) float64 at all pairs of offsets dx (dx,) and dy (dy,) in nm.

        A sample depends on its kernel and its own offset only, and has the same bits on every machine: only
        + - * / sqrt, fused multiply-adds and the functions of :mod:`qpibench.arithmetic`, sums in a written order.
        """


class OfSplines(Protocol):
    """Additional member of a tabulated family whose kernels are splines on a lattice of their own."""

    def samples_per_pixel(self, ranges: Any, pitch_nm: float) -> int | None:
        """Fewest samples per pixel of this pitch that give the kernels exactly; None if `resolution_nm` decides."""


class Scattering(Tabulated, Protocol):
    """Additional members of a family that knows the T-matrix of its scatterers: multiple scattering between them."""

    def scattering(self, ranges: Any, parameters: Parameters, reach_nm: tuple[float, float]) -> Any:
        """What images of one kernel share, a tuple that may have arrays; columns of length 1.

        No offset of a pixel or a scatterer from a scatterer exceeds ``reach_nm`` along x and y.
        """

    def scatter(
        self,
        ranges: Any,
        parameters: Parameters,
        shared: Any,
        axes: Axes,
        position_nm: NDArray[np.float64],
        amplitude: NDArray[np.float32],
        image: NDArray[np.float64],
    ) -> None:
        """Fill an image (y, x) with the kernel's change of the density of states around all scatterers, to all orders.

        ``position_nm`` (scatterer, xy) and ``amplitude`` (scatterer,), the factors of their T-matrices, have no
        padding. The bits are defined as those of `samples`.
        """


class Numbered(Protocol):
    """Additional member of a family with parameters that depend on the kernel's number, not only on random numbers."""

    def numbered(self, ranges: Any, columns: Parameters, start: int) -> dict[str, NDArray[Any]]:
        """The columns of the kernels from ``start`` on of an endless sequence, out of those that `parameters` gave."""

    def is_random(self, ranges: Any) -> bool:
        """Whether random numbers determine the kernels, so that a second species can be drawn."""


class OfScatterer(Protocol):
    """Additional member of a family in which some uniform random numbers are not those of the scatterer.

    They determine the sample or the measurement, such as the energy, and two species of an image share them.

    Attributes
    ----------
    OF_SCATTERER
        Which of the ``UNIFORMS`` numbers belong to the scatterer; all, if a family does not have the attribute.
    """

    OF_SCATTERER: tuple[int, ...]


class Rotatable(Protocol):
    """Additional members of a family whose scatterers occur in different orientations."""

    def check_direction(self, ranges: Any) -> None:
        """Raise ValueError if some kernels are the same in all orientations."""

    def rotated(self, columns: Parameters, angle_rad: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """The columns of kernels that are rotated counterclockwise by angles (kernel,), with defined bits."""


class FamilyOnGpu(ClosedForm, Protocol):
    """Additional member of a closed form with a header in ``kernels_cuda/families/``.

    All its columns but the stratum are float64, and it needs at most four uniform numbers.
    """

    def gpu_ranges(self, ranges: Any) -> tuple[float, float, float, float]:
        """The four numbers that the header needs to draw a kernel's parameters."""


NO_HOLE = (-1.0, -1.0)
"""Half the sides of the hole of a frame that has none; see :meth:`OnLattice.snap`."""


class OnLattice(Family, Protocol):
    """Additional members of a family whose scatterers lie on the sites of a lattice."""

    def site_count(self, ranges: Any, half_x_nm: float, half_y_nm: float, *, enough: int) -> int:
        """Number of sites with ``|x| <= half_x_nm`` and ``|y| <= half_y_nm``; counting stops at ``enough``."""

    def snap(
        self,
        ranges: Any,
        position_nm: NDArray[np.float64],
        *,
        first: NDArray[np.int32],
        hole_nm: tuple[float, float],
        half_nm: tuple[float, float],
        separation_nm: float = 0.0,
    ) -> None:
        """Move scatterers in place to sites, no two of those that move to the same site, with defined bits.

        Parameters
        ----------
        ranges
            The table of kernels of the spec.
        position_nm
            (observation, scatterer, xy); NaN after the last.
        first
            (observation,): the first scatterer that moves.
        hole_nm, half_nm
            Half the sides along x and y of the frame in which the sites lie; without a hole they are negative. A
            scatterer for which the frame has no site left stays.
        separation_nm
            Smallest distance between those that move.
        """

    def sites_closer(self, ranges: Any, separation_nm: float) -> int:
        """Number of sites closer than a distance to a site, itself included."""


def is_on_lattice(family: Family) -> TypeGuard[OnLattice]:
    """Whether a family's scatterers lie on lattice sites."""
    return hasattr(family, "snap")


def is_scattering(family: Family) -> TypeGuard[Scattering]:
    """Whether a family has multiple scattering."""
    return hasattr(family, "scatter")


def family_names() -> tuple[str, ...]:
    """Names of all families."""
    return registry.names(sys.modules[__name__])


def get_family(name: str) -> Family:
    """The family of a name.

    Raises
    ------
    UsageError
        If there is no such family, or its name is too long.
    """
    family = cast(Family, registry.load(sys.modules[__name__], name, "kernel family"))
    if len(name.encode()) > MAX_NAME_LENGTH:
        raise UsageError(
            f"The kernel family '{name}' has a name of more than {MAX_NAME_LENGTH} bytes; rename its file."
        )
    return family


def is_tabulated(family: Family) -> TypeGuard[Tabulated]:
    """Whether a family's kernels are sampled; otherwise it is a :class:`ClosedForm`."""
    return hasattr(family, "samples")
