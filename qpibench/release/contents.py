"""The arrays of a release other than its observations: coordinates, kernels and splits."""

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
from qpibench.specs.columns import family_name, scatterer_capacity
from qpibench.specs.species import species_count
from qpibench.synthesis.contract import Kernels


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The part of a release that is known before its observations are computed.

    Attributes
    ----------
    spec
        The release's spec.
    kernels
        Its kernels.
    observation_kernel
        (observation,) int32: the kernel that each observation shows, or the number of its pair of kernels.
    max_scatterers
        Length of the scatterer axis of the positions.
    """

    spec: ReleaseSpec | ImportedSpec
    kernels: Kernels
    observation_kernel: NDArray[np.int32]
    max_scatterers: int

    @classmethod
    def generated(cls, spec: ReleaseSpec, kernels: Kernels) -> Self:
        """Outline of a generated release: every kernel has the same number of observations, kernel after kernel."""
        shown = np.repeat(np.arange(spec.kernels.count, dtype=np.int32), spec.observations_per_kernel)
        return cls(spec=spec, kernels=kernels, observation_kernel=shown, max_scatterers=scatterer_capacity(spec))


def contents(outline: Outline) -> tuple[dict[str, Array], dict[str, NDArray[Any]]]:
    """Describe all arrays of a release, and compute the values of those that are not observations.

    Returns
    -------
    tuple
        All arrays by name, and the values of coordinates, kernels and splits by name, in the stored dtype.

    Raises
    ------
    InvalidDataError
        If the kernels do not have the shape of the spec's grid, or their columns differ in length.
    """
    from qpibench.synthesis.splits import (
        draw_splits,
    )  # its import compiles code, which reading a release must not wait for

    spec, kernels = outline.spec, outline.kernels
    # Both kernels of a pair are on the same side of a split; they have the same stratum.
    stratum = kernels.parameters[get_family(family_name(spec)).STRATUM][:: species_count(spec)]
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
            raise InvalidDataError(f"Array '{name}' has {len(column)} rows; expected {arrays[name].shape[0]}.")
    return arrays, {name: arrays[name].rows(canonical(column)) for name, column in values.items()}
