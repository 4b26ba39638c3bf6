"""Effects of corruptions: an image without and with each corruption of a spec, or with the example of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from qpibench.corruptions import Stage, corruption_names, get_corruption, in_order
from qpibench.grid import Grid
from qpibench.specs import ReleaseSpec
from qpibench.specs.load import explain
from qpibench.specs.species import species_count
from qpibench.synthesis.contract import Observations
from qpibench.synthesis.cpu import CpuBackend

EXAMPLE_FIELD_NM = 10.0
"""Size of the field for which corruptions declare their examples."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One observation and its kernel, without and with a corruption.

    Attributes
    ----------
    name, stage, settings
        The corruption, when it acts, and its settings in the spec.
    before, after
        The observation, of one row.
    kernel_before, kernel_after
        (y, x) float32: the image of the kernel, or of the first of a pair.
    """

    name: str
    stage: Stage
    settings: BaseModel
    before: Observations
    after: Observations
    kernel_before: NDArray[np.float32]
    kernel_after: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A corruption whose example a spec cannot have, and the reason."""

    name: str
    reason: str


def effects_of_spec(spec: ReleaseSpec, index: int) -> Iterator[Effect]:
    """Apply the corruptions of a spec to an observation one after the other, each to the result of those before it."""
    table = spec.corruptions or {}
    for count, name in enumerate(table):
        without, with_it = (
            spec.model_copy(update={"corruptions": dict(list(table.items())[:first]) or None})
            for first in (count, count + 1)
        )
        yield _effect(name, without, with_it, index)


def effects_of_examples(spec: ReleaseSpec, index: int, names: Sequence[str] = ()) -> Iterator[Effect | Refusal]:
    """Apply the example of each corruption, or of those named, to an observation of a spec without corruptions.

    If the spec has one of these corruptions, its settings are those of the spec.
    """
    stated = spec.model_dump(mode="json", exclude_none=True).get("corruptions", {})
    clean = spec.model_copy(update={"corruptions": None})
    for name in in_order(list(dict.fromkeys(names or corruption_names()))):
        settings = stated.get(name) or scaled_example(get_corruption(name).EXAMPLE, spec.grid)
        fields = clean.model_dump(mode="json", exclude_none=True) | {"corruptions": {name: settings}}
        try:
            corrupted = ReleaseSpec.model_validate_json(json.dumps(fields), strict=True)
        except ValidationError as error:
            yield Refusal(name=name, reason=explain(error, ReleaseSpec, family=spec.kernels.family))
        else:
            yield _effect(name, clean, corrupted, index)


def scaled_example(example: Mapping[str, Any], grid: Grid) -> dict[str, Any]:
    """The settings of an example with lengths in the ratio of the field to that of the examples, 10 nm.

    Examples
    --------
    >>> from qpibench.grid import Grid
    >>> scaled_example({"sigma_nm": 0.1, "share": 0.2}, Grid(ny=64, nx=64, size_y_nm=30.0, size_x_nm=30.0))
    {'sigma_nm': 0.3, 'share': 0.2}
    """
    ratio = min(grid.size_x_nm, grid.size_y_nm) / EXAMPLE_FIELD_NM
    factors = {"nm": ratio, "nm2": ratio**-2}  # densities are per nm^2
    return {key: _scaled(value, factors.get(key.rpartition("_")[2])) for key, value in example.items()}


def _scaled(value: Any, factor: float | None) -> Any:
    if factor is None:
        return value
    if isinstance(value, list | tuple):
        return [_scaled(each, factor) for each in value]
    return float(f"{value * factor:.6g}")


def _effect(name: str, without: ReleaseSpec, with_it: ReleaseSpec, index: int) -> Effect:
    (before, kernel_before), (after, kernel_after) = (_observe(spec, index) for spec in (without, with_it))
    settings = (with_it.corruptions or {})[name]
    return Effect(
        name=name,
        stage=get_corruption(name).STAGE,
        settings=settings,
        before=before,
        after=after,
        kernel_before=kernel_before,
        kernel_after=kernel_after,
    )


def _observe(spec: ReleaseSpec, index: int) -> tuple[Observations, NDArray[np.float32]]:
    backend, row = CpuBackend(), index // spec.observations_per_kernel
    kernels = backend.kernels(spec, count=row + 1)
    return backend.observations(spec, kernels, index, index + 1), kernels.image[species_count(spec) * row]
