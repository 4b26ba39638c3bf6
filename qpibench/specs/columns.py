"""The columns of a release, which its family and its corruptions declare."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel

from qpibench.columns import Column
from qpibench.corruptions import Corruption, Stage, get_corruption
from qpibench.families import get_family
from qpibench.specs.spec import ImportedSpec, ReleaseSpec
from qpibench.specs.species import SCATTERER_SPECIES, TOLD_SPECIES, species_count


class Applied(NamedTuple):
    """A corruption of a spec with its settings."""

    name: str
    corruption: Corruption
    settings: BaseModel


def applied_corruptions(spec: ReleaseSpec | ImportedSpec, *stages: Stage) -> tuple[Applied, ...]:
    """Return the corruptions of a spec in the order in which they act; of some stages, or all."""
    table = (spec.corruptions if isinstance(spec, ReleaseSpec) else None) or {}
    applied = (Applied(name, get_corruption(name), settings) for name, settings in table.items())
    return tuple(each for each in applied if not stages or each.corruption.STAGE in stages)


def family_name(spec: ReleaseSpec | ImportedSpec) -> str:
    """Return the family whose columns a release's kernels have.

    An imported release has the columns of eq. 7, the family of the published files; its parameters are unknown.
    """
    return spec.kernels.family if isinstance(spec, ReleaseSpec) else "eq7"


def kernel_columns(spec: ReleaseSpec | ImportedSpec) -> tuple[Column, ...]:
    """Return the columns with the parameters of a release's kernels."""
    return get_family(family_name(spec)).COLUMNS


def observation_columns(spec: ReleaseSpec | ImportedSpec) -> tuple[Column, ...]:
    """Return the columns of a release's observations besides images and positions, per observation or scatterer."""
    of_corruptions = tuple(column for applied in applied_corruptions(spec) for column in applied.corruption.COLUMNS)
    if species_count(spec) == 1:
        return of_corruptions
    told = (TOLD_SPECIES,) if tells_other_positions(spec) else ()
    return (SCATTERER_SPECIES, *told, *of_corruptions)


def scatterer_capacity(spec: ReleaseSpec) -> int:
    """Return the length of the scatterer dimension: the largest drawn number plus what corruptions add."""
    return spec.scatterers.max + sum(spec.added_scatterers().values())


def tells_other_positions(spec: ReleaseSpec | ImportedSpec) -> bool:
    """Return whether the positions given to a model may differ from the true ones."""
    return isinstance(spec, ReleaseSpec) and bool(applied_corruptions(spec, "told") or spec.added_scatterers())
