"""The fields that a batch of a stream may have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.columns import Column
from qpibench.corruptions import corruption_columns
from qpibench.families import Parameters
from qpibench.specs import ReleaseSpec
from qpibench.specs.columns import (
    applied_corruptions,
    kernel_columns,
    observation_columns,
    scatterer_capacity,
    tells_other_positions,
)
from qpibench.specs.species import SCATTERER_SPECIES, pair_columns
from qpibench.synthesis.species import Drawn

IMAGES = ("image", "kernel", "activation_map")
PLACES = ("position_nm", "told_position_nm", "n_scatterers")
NUMBERS = ("kernel_index", "index")


def stream_fields(spec: ReleaseSpec) -> tuple[str, ...]:
    """Names of all fields of a batch of n images of a spec.

    - ``image``, ``kernel``, ``activation_map`` (n, y, x) float32: the observation, its kernel, and the map of the told
      positions,
    - ``position_nm`` and, if a corruption may change what a model is told, ``told_position_nm`` (n, scatterer, 2)
      float64: x and y in nm, padded with NaN,
    - ``n_scatterers`` (n,) int64,
    - the columns of the spec's family, (n,): integers as int64,
    - with two species: ``kernel`` (n, species, y, x), the columns of the kernels (n, species) and also ``contrast`` and
      ``rotation``; ``species`` (n, scatterer) int32, padded with -1, and ``told_species`` with ``told_position_nm``,
    - the columns of its corruptions, (n,) or (n, scatterer), except those that depend on the kernel's image. The clean
      images are those of the same spec without corruptions,
    - ``kernel_index``, ``index`` (n,) int64: the indices of kernel and image in the endless sequence. With two species
      ``kernel_index`` is (n, species).
    """
    places = [name for name in PLACES if name != "told_position_nm" or tells_other_positions(spec)]
    of_pairs = [column for column in pair_columns(spec) if column.name != SCATTERER_SPECIES.name]
    declared = [column.name for column in (*kernel_columns(spec), *of_pairs, *_streamed(observation_columns(spec)))]
    return (*IMAGES, *places, *declared, *NUMBERS)


def as_fields(parameters: Parameters) -> dict[str, NDArray[Any]]:
    """Parameters of kernels as a batch of a stream has them: integers as int64."""
    return {
        name: values.astype(np.int64) if np.issubdtype(values.dtype, np.integer) else values
        for name, values in parameters.items()
    }


def kernel_fields(drawn: Drawn) -> dict[str, NDArray[Any]]:
    """The columns of kernels that a batch has; the species of a kernel is its place in the batch."""
    of_pairs = {name: values for name, values in drawn.pairs.items() if name != SCATTERER_SPECIES.name}
    return {**drawn.parameters, **of_pairs}


def known_fields(spec: ReleaseSpec) -> tuple[str, ...]:
    """These fields, and the columns of corruptions that the spec does not have, whose values are then "absent"."""
    return tuple(dict.fromkeys((*stream_fields(spec), "told_position_nm", *_corruption_columns())))


def absent_columns(fields: Sequence[str], count: int, spec: ReleaseSpec) -> dict[str, NDArray[np.generic]]:
    """The requested columns of corruptions, filled with the value for images without the corruption."""
    known = _corruption_columns()
    shapes = {"observation": (count,), "scatterer": (count, scatterer_capacity(spec))}
    return {name: known[name].empty(*shapes[known[name].per]) for name in fields if name in known}


def needs_image(spec: ReleaseSpec, fields: Sequence[str]) -> bool:
    """Whether the images must be made: they are requested, or columns of corruptions of images are."""
    told = (column.name for applied in applied_corruptions(spec, "image") for column in applied.corruption.COLUMNS)
    return not {"image", *told}.isdisjoint(fields)


def _corruption_columns() -> dict[str, Column]:
    return {column.name: column for column in _streamed(corruption_columns().values())}


def _streamed(columns: Iterable[Column]) -> list[Column]:
    return [column for column in columns if column.in_streams]
