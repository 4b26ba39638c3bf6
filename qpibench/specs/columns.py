"""Which columns a release has: those that its family and its corruptions declare."""

from __future__ import annotations

from typing import NamedTuple, cast

from pydantic import BaseModel

from qpibench.columns import Column
from qpibench.corruptions import AddsScatterers, Corruption, Stage, get_corruption
from qpibench.families import get_family
from qpibench.specs.spec import ImportedSpec, ReleaseSpec


class Applied(NamedTuple):
    """A corruption of a spec, and its settings."""

    name: str
    corruption: Corruption
    settings: BaseModel


def applied_corruptions(spec: ReleaseSpec | ImportedSpec, *stages: Stage) -> tuple[Applied, ...]:
    """The corruptions of a spec in the order in which they act; those of some stages, or all."""
    table = (spec.corruptions if isinstance(spec, ReleaseSpec) else None) or {}
    applied = (Applied(name, get_corruption(name), settings) for name, settings in table.items())
    return tuple(each for each in applied if not stages or each.corruption.STAGE in stages)


def family_name(spec: ReleaseSpec | ImportedSpec) -> str:
    """The family whose columns a release's kernels have.

    An imported one has those of eq. 7, which the published files are of, though they do not tell the parameters.
    """
    return spec.kernels.family if isinstance(spec, ReleaseSpec) else "eq7"


def kernel_columns(spec: ReleaseSpec | ImportedSpec) -> tuple[Column, ...]:
    """The parameters of a release's kernels."""
    return get_family(family_name(spec)).COLUMNS


def observation_columns(spec: ReleaseSpec | ImportedSpec) -> tuple[Column, ...]:
    """What a release tells of its observations beside images and places, per observation or scatterer."""
    return tuple(column for applied in applied_corruptions(spec) for column in applied.corruption.COLUMNS)


def scatterer_room(spec: ReleaseSpec) -> int:
    """How many scatterers there is room for: the most that an image is drawn with, and what corruptions add."""
    return spec.scatterers.max + sum(_extra_scatterers(spec))


def tells_other_positions(spec: ReleaseSpec | ImportedSpec) -> bool:
    """Whether a model may be told other positions than those of the scatterers."""
    return bool(applied_corruptions(spec, "told") or _extra_scatterers(spec))


def _extra_scatterers(spec: ReleaseSpec | ImportedSpec) -> list[int]:
    return [
        cast(AddsScatterers, applied.corruption).extra_scatterers(applied.settings)
        for applied in applied_corruptions(spec)
        if hasattr(applied.corruption, "extra_scatterers")
    ]
