"""A lattice, its band, and the ranges of energy and scatterer strength, and the mesh of wavevectors that they need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from qpibench.arithmetic.bands import band_edges, fastest, hoppings, lattice_vectors
from qpibench.families import KernelSpec
from qpibench.ranges import RISING, require_within

MESHES = (64, 128, 256, 512, 1024, 2048, 4096)
"""Possible numbers of wavevectors along an axis."""

DECAY_LENGTHS = 8
"""Smallest width of the mesh in decay lengths of the Green function."""

LATTICE_FOLD: Mapping[str, int] = {"square": 4, "hexagonal": 6, "nematic": 2}
"""Rotational symmetry of each lattice."""

Length = Annotated[float, Field(ge=1e-3, le=1e3, allow_inf_nan=False)]
Energy = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=-1e3, le=1e3, allow_inf_nan=False)]


class Ranges(KernelSpec):
    """A lattice, its band, and the ranges of energy and scatterer strength.

    The lattice is the crystal's: it is the same for all kernels and images of a release. Scatterers lie on sites of
    their own: each drawn point moves to the nearest site in the field, or the frame, that no earlier one has.
    """

    family: Literal["tight_binding"] = Field(default="tight_binding", description="name of the formula")
    lattice: Literal["square", "hexagonal", "nematic"] = Field(description="nematic: square with two-fold hopping")
    lattice_nm: Length = Field(description="lattice constant")
    angle_rad: Annotated[float, Field(ge=-math.pi, le=math.pi, allow_inf_nan=False)] = Field(
        default=0.0, description="angle from the x axis to the lattice vector a1"
    )
    origin_nm: tuple[Coordinate, Coordinate] = Field(
        default=(0.0, 0.0), description="x and y of a site, from the centre of the field"
    )
    hopping_mev: Positive = Field(description="hopping t between nearest neighbours")
    second_hopping_mev: Energy = Field(
        default=0.0, description="hopping between next-nearest neighbours; at most half of hopping_mev"
    )
    anisotropy: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(
        default=0.0,
        description="of a nematic lattice: hopping_mev is multiplied by 1 + this along a1, 1 - this along a2",
    )
    chemical_potential_mev: Energy = Field(
        default=0.0, description="Fermi energy relative to the level of a site, from which energy_mev counts"
    )
    energy_mev: Annotated[tuple[Energy, Energy], RISING] = Field(
        description="range of the energy relative to the Fermi energy, as the bias gives it"
    )
    broadening_mev: Positive = Field(description="imaginary part eta of the energy: hbar over twice the lifetime")
    scatterer_mev: Annotated[tuple[Energy, Energy], RISING] = Field(
        description="range of the energy V by which a scatterer raises the level of its site; 0 is not in it"
    )
    orbital_fwhm_nm: Length = Field(description="full width at half maximum of the density of an orbital")
    mesh: int | None = Field(
        default=None, description="wavevectors along an axis, a power of two; by default 8 decay lengths or more"
    )
    unit: Annotated[float, Field(ge=1e-6, le=1e5, allow_inf_nan=False)] = Field(
        default=1.0, description="kernels are the relative change of the density of states divided by this"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.anisotropy > 0) != (self.lattice == "nematic"):
            wanted = "above 0" if self.lattice == "nematic" else "0"
            raise ValueError(f"anisotropy must be {wanted} for a {self.lattice} lattice, found {self.anisotropy:g}")
        most = self.hopping_mev / 2
        require_within("second_hopping_mev", self.second_hopping_mev, -most, most, reason="half of hopping_mev")
        low, high = (edge - self.chemical_potential_mev for edge in band_edges(hoppings_of(self)))
        require_within("energy_mev", self.energy_mev, low, high, reason="the edges of the band in meV")
        if self.scatterer_mev[0] <= 0 <= self.scatterer_mev[1]:
            raise ValueError(
                "scatterer_mev must be a range above 0 or one below 0, because V = 0 scatters nothing, found"
                f" {self.scatterer_mev[0]:g} to {self.scatterer_mev[1]:g}"
            )
        parts = "a fifth to twice the lattice constant"
        require_within("orbital_fwhm_nm", self.orbital_fwhm_nm, self.lattice_nm / 5, 2 * self.lattice_nm, reason=parts)
        return self

    @model_validator(mode="after")
    def _check_mesh(self) -> Self:
        needed = DECAY_LENGTHS * decay_length(self)
        if needed > MESHES[-1]:
            raise ValueError(
                f"broadening_mev must be at least {self.broadening_mev * needed / MESHES[-1]:.3g}, because the mesh of"
                f" wavevectors, at most {MESHES[-1]}, must be {DECAY_LENGTHS} decay lengths wide, found"
                f" {self.broadening_mev:g}"
            )
        fitting = [mesh for mesh in MESHES if mesh >= needed]
        if self.mesh is not None and self.mesh not in fitting:
            raise ValueError(
                f"mesh must be {DECAY_LENGTHS} decay lengths ({needed:.4g} lattice constants) or more and a power of"
                f" two, one of {', '.join(map(str, fitting))}, found {self.mesh}"
            )
        return self


def hoppings_of(ranges: Ranges) -> NDArray[np.float64]:
    """The hoppings of the band in meV; see :func:`qpibench.arithmetic.bands.hoppings`."""
    return hoppings(LATTICE_FOLD[ranges.lattice], ranges.hopping_mev, ranges.second_hopping_mev, ranges.anisotropy)


def vectors_of(ranges: Ranges) -> NDArray[np.float64]:
    """The lattice vectors a1 and a2, (2, xy) in nm."""
    return lattice_vectors(LATTICE_FOLD[ranges.lattice], ranges.lattice_nm, ranges.angle_rad)


def decay_length(ranges: Ranges) -> float:
    """Upper bound of the decay length of the Green function, along a1 and a2, in lattice constants."""
    return fastest(hoppings_of(ranges), ranges.energy_mev[1] + ranges.chemical_potential_mev) / ranges.broadening_mev


def mesh_of(ranges: Ranges) -> int:
    """Number of wavevectors along an axis: the stated one, or the smallest one that is wide enough."""
    if ranges.mesh is not None:
        return ranges.mesh
    return next(mesh for mesh in MESHES if mesh >= DECAY_LENGTHS * decay_length(ranges))
