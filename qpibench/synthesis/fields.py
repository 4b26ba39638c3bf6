"""The fields that a batch of a stream may have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from qpibench.columns import Column
from qpibench.corruptions import Draft, RelativeToKernel, corruption_columns
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
from qpibench.synthesis.species import Drawn, kernel_rows, per_observation

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


def needs_kernel_rms(spec: ReleaseSpec) -> bool:
    """Whether a corruption of images uses the root of the mean square of the kernel's image."""
    return any(
        cast(RelativeToKernel, each.corruption).needs_kernel_rms(each.settings)
        for each in applied_corruptions(spec, "image")
        if hasattr(each.corruption, "needs_kernel_rms")
    )


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What must be computed for the fields of a batch.

    Attributes
    ----------
    images, kernel_images, activation_maps
        Whether these images must be made.
    kernel_rms
        Whether the roots of the mean squares of the kernels' images are taken, for corruptions of the images.
    """

    images: bool
    kernel_images: bool = False
    kernel_rms: bool = False
    activation_maps: bool = False

    @classmethod
    def by(cls, spec: ReleaseSpec, fields: Sequence[str]) -> Wanted:
        """The steps for some fields of a spec."""
        images = needs_image(spec, fields)
        rms = images and needs_kernel_rms(spec)
        return cls(
            images=images,
            kernel_images=rms or "kernel" in fields,
            kernel_rms=rms,
            activation_maps="activation_map" in fields,
        )


def columns_of_shown(spec: ReleaseSpec, drawn: Drawn, index: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The columns of the kernels that the images ``index`` show, ``kernel_index`` and ``index``.

    ``drawn`` has these kernels, from that of the first image on.
    """
    kernel = index // spec.observations_per_kernel
    rows = kernel_rows(spec, kernel - kernel[0])
    columns = {name: per_observation(values, rows) for name, values in as_fields(kernel_fields(drawn)).items()}
    of_table = kernel_rows(spec, kernel)
    return {**columns, "kernel_index": of_table if spec.species is not None else of_table[:, 0], "index": index}


def of_draft(draft: Draft) -> dict[str, NDArray[Any]]:
    """The images and places of a finished draft."""
    return {
        "image": draft.image,
        "position_nm": draft.position_nm,
        "told_position_nm": draft.told_position_nm,
        "n_scatterers": draft.n_scatterers.astype(np.int64),
    }


def _corruption_columns() -> dict[str, Column]:
    return {column.name: column for column in _streamed(corruption_columns().values())}


def _streamed(columns: Iterable[Column]) -> list[Column]:
    return [column for column in columns if column.in_streams]
