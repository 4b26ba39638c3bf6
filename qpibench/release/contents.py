"""What a release holds besides its observations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError
from qpibench.families import get_family
from qpibench.release import layout
from qpibench.release.identity import canonical
from qpibench.release.layout import Array
from qpibench.specs import ImportedSpec, ReleaseSpec
from qpibench.specs.columns import family_name, scatterer_room
from qpibench.synthesis.contract import Kernels


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What is known of a release before its observations are.

    Attributes
    ----------
    spec
        The release's spec.
    kernels
        Its kernels.
    observation_kernel
        (observation,) int32: the kernel that each observation shows.
    max_scatterers
        Number of scatterers that there is room for.
    """

    spec: ReleaseSpec | ImportedSpec
    kernels: Kernels
    observation_kernel: NDArray[np.int32]
    max_scatterers: int

    @classmethod
    def generated(cls, spec: ReleaseSpec, kernels: Kernels) -> Self:
        """Of a release that its spec gives: every kernel is shown by as many observations, one kernel after another."""
        shown = np.repeat(np.arange(spec.kernels.count, dtype=np.int32), spec.observations_per_kernel)
        return cls(spec=spec, kernels=kernels, observation_kernel=shown, max_scatterers=scatterer_room(spec))


def contents(outline: Outline) -> tuple[dict[str, Array], dict[str, NDArray[Any]]]:
    """All arrays of a release, and the values of those that are no observations.

    Returns
    -------
    tuple
        The arrays by name, and by name the values of coordinates, kernels and splits, as they are stored.

    Raises
    ------
    InvalidDataError
        If the kernels do not fit the spec's grid or each other.
    """
    from qpibench.synthesis.splits import draw_splits  # compiled when imported; a release is read without it

    spec, kernels = outline.spec, outline.kernels
    stratum = kernels.parameters[get_family(family_name(spec)).STRATUM]
    splits = draw_splits(outline.observation_kernel, stratum, spec.splits, spec.seed)
    values: dict[str, NDArray[Any]] = {"x": spec.grid.x_nm, "y": spec.grid.y_nm}
    values |= {f"kernels/{name}": column for name, column in kernels.columns().items()}
    values |= {f"splits/{task}/{role}": rows for task, roles in splits.items() for role, rows in roles.items()}
    sizes = {
        "y": spec.grid.ny,
        "x": spec.grid.nx,
        "kernel": len(kernels),
        "observation": len(outline.observation_kernel),
        "scatterer": outline.max_scatterers,
    }
    arrays = layout.arrays(
        spec, sizes, {f"{task}/{role}": len(rows) for task in splits for role, rows in splits[task].items()}
    )
    for name, column in values.items():
        if len(column) != arrays[name].shape[0]:
            raise InvalidDataError(f"{name} has {len(column)} rows, where {arrays[name].shape[0]} are expected.")
    return arrays, {name: arrays[name].rows(canonical(column)) for name, column in values.items()}
