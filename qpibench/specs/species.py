"""Two species of scatterers in a release: the table ``[species]`` of a spec, and the columns that it adds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qpibench.columns import Column
from qpibench.families import Numbered, Rotatable, get_family
from qpibench.ranges import RISING, one_or_two

if TYPE_CHECKING:
    from qpibench.specs.spec import ImportedSpec, ReleaseSpec

SPECIES = 2
"""Number of species in a release with the table ``[species]``."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Angle = Annotated[float, Field(ge=0, le=360, allow_inf_nan=False)]


class SpeciesSpec(BaseModel):
    """A second species of scatterers. Every kernel of the release becomes a pair, with one kernel for each species.

    The contrast of a pair is ``||A - B|| / sqrt(||A||^2 + ||B||^2)`` with the Euclidean norm over the pixels of the
    kernels' images, without corruptions: 0 for equal kernels, 1 for orthogonal ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    second: Literal["drawn", "rotated"] = Field(
        description="kernel of the second species: drawn like the first, or the first, rotated"
    )
    angle_deg: Annotated[tuple[Angle, Angle], RISING, one_or_two("an angle", Angle)] | None = Field(
        default=None, description="counterclockwise angle of a rotated kernel against the first; only for rotated ones"
    )
    share: Annotated[tuple[Share, Share], RISING, one_or_two("a share", Share)] = Field(
        default=(0.5, 0.5), description="share of the second species among the scatterers of an image"
    )
    min_contrast: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=0.3, description="least contrast of a pair of kernels; other pairs are drawn again"
    )
    min_each: Annotated[int, Field(ge=0, le=5000)] = Field(
        default=1,
        description="fewest scatterers of each species in an image; scatterers.min is at least twice as large",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.angle_deg is not None) != (self.second == "rotated"):
            how = "is missing, for example [20, 70]" if self.angle_deg is None else 'needs second = "rotated"'
            raise ValueError(f"angle_deg {how}")
        return self


KERNEL_COLUMNS = (
    Column(name="species", dtype="<i4", per="kernel", units="1", long_name="species of the kernel: 0 or 1", absent=-1),
    Column(
        name="contrast",
        dtype="<f8",
        per="kernel",
        units="1",
        long_name="norm of the difference of a pair's clean kernels over the root of the sum of their squared norms",
        absent=math.nan,
    ),
)

ROTATION = Column(
    name="rotation",
    dtype="<f8",
    per="kernel",
    units="rad",
    long_name="counterclockwise angle of the kernel against the first of its pair",
    absent=math.nan,
)

SCATTERER_SPECIES = Column(
    name="species",
    dtype="<i4",
    per="scatterer",
    units="1",
    long_name="species of every scatterer: 0 or 1, then -1",
    absent=-1,
)

TOLD_SPECIES = Column(
    name="told_species",
    dtype="<i4",
    per="scatterer",
    units="1",
    long_name="species of the scatterer at every told position: 0 or 1, then -1",
    absent=-1,
)


def species_count(spec: ReleaseSpec | ImportedSpec) -> int:
    """Return the number of kernels that an image of a release shows: 2 with the table ``[species]``, otherwise 1."""
    return 1 if getattr(spec, "species", None) is None else SPECIES


def pair_columns(spec: ReleaseSpec | ImportedSpec) -> tuple[Column, ...]:
    """Return the columns of kernels that two species add to those of the family."""
    species: SpeciesSpec | None = getattr(spec, "species", None)
    if species is None:
        return ()
    return (*KERNEL_COLUMNS, ROTATION) if species.second == "rotated" else KERNEL_COLUMNS


def check_species(spec: ReleaseSpec) -> None:
    """Raise ValueError if the scatterers or the kernel family of a spec cannot have two such species."""
    species, family = spec.species, get_family(spec.kernels.family)
    if species is None:
        return
    if spec.scatterers.min < 2 * species.min_each:
        raise ValueError(
            f"species.min_each = {species.min_each} needs scatterers.min = {2 * species.min_each} or more, found"
            f" {spec.scatterers.min}"
        )
    if SPECIES * spec.kernels.count >= 2**31:
        raise ValueError(f"kernels.count must be below {2**30} with two species, found {spec.kernels.count}")
    if species.second == "rotated":
        if not hasattr(family, "rotated"):
            raise ValueError(
                f"species.second = 'rotated' is not possible with kernels.family = '{spec.kernels.family}', whose"
                " kernels do not turn with the scatterer; use species.second = 'drawn', or the family eq7"
            )
        cast(Rotatable, family).check_direction(spec.kernels)
    elif hasattr(family, "numbered") and not cast(Numbered, family).is_random(spec.kernels):
        raise ValueError(
            "species.second = 'drawn' needs kernels that are drawn, and those of this spec are taken in their order;"
            " set kernels.drawn = true"
        )
