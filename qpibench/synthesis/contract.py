"""The interface of a backend, and the arrays that it returns.

Both backends implement :class:`Backend`. For the same spec they return the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.streams import Domain
from qpibench.specs import ReleaseSpec
from qpibench.specs.species import SCATTERER_SPECIES, TOLD_SPECIES


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The kernels of a release, one row each.

    Attributes
    ----------
    image
        (kernel, y, x) float32: the single-scatterer image on the release's grid, amplitude 1.
    family
        (kernel,) bytes ``S16``: the family's name, such as ``b"eq7"``.
    parameters
        The columns that the family declares, by name, (kernel,) each; see :mod:`qpibench.families`.
    pairs
        The columns that two species add, by name, (kernel,) each; see :func:`qpibench.specs.species.pair_columns`.
        With two species, the kernels 2p and 2p + 1 are a pair, of the species 0 and 1.
    """

    image: NDArray[np.float32]
    family: NDArray[np.bytes_]
    parameters: Mapping[str, NDArray[Any]]
    pairs: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return all arrays of these kernels by name."""
        return {"image": self.image, "family": self.family, **self.parameters, **self.pairs}


@dataclass(frozen=True, kw_only=True)
class Observations:
    """A run of observations, one row each.

    Attributes
    ----------
    image
        (observation, y, x) float32.
    kernel
        (observation,) int32: the row of the kernel table. With two species (observation, species), the row of each.
    n_scatterers
        (observation,) int32.
    position_nm
        (observation, scatterer, xy) float64 in nm: positions of the scatterers, NaN after the last.
    told_position_nm
        The same for the positions that a model is told. None if no corruption of the spec can make them differ from
        ``position_nm``; see :attr:`told`.
    extra
        The columns that the spec's corruptions declare, by name, (observation,) or (observation, scatterer); see
        :mod:`qpibench.corruptions`.
    """

    image: NDArray[np.float32]
    kernel: NDArray[np.int32]
    n_scatterers: NDArray[np.int32]
    position_nm: NDArray[np.float64]
    told_position_nm: NDArray[np.float64] | None = None
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.kernel)

    @property
    def told(self) -> NDArray[np.float64]:
        """Positions that a model is told, (observation, scatterer, xy) float64 in nm, NaN after the last."""
        return self.position_nm if self.told_position_nm is None else self.told_position_nm

    @property
    def species_count(self) -> int:
        """Number of species of scatterers, 1 or 2."""
        return 1 if self.kernel.ndim == 1 else self.kernel.shape[1]

    @property
    def told_species(self) -> NDArray[np.int32] | None:
        """Species of the scatterers at the told positions, (observation, scatterer) int32, then -1; None without."""
        return self.extra.get(TOLD_SPECIES.name, self.extra.get(SCATTERER_SPECIES.name))

    def columns(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, without those that are None."""
        own = {name: values for name, values in vars(self).items() if name != "extra" and values is not None}
        return {**own, **self.extra}

    @classmethod
    def of_columns(cls, columns: Mapping[str, NDArray[Any]]) -> Self:
        """Observations from their arrays by name."""
        own = {name: values for name, values in columns.items() if name in cls.__dataclass_fields__}
        return cls(**own, extra={name: values for name, values in columns.items() if name not in own})


class Backend(Protocol):
    """Makes the arrays of a release. Several threads may call it at once."""

    name: str

    def kernels(self, spec: ReleaseSpec, *, domain: Domain = "benchmark") -> Kernels:
        """All kernels of the release, or pairs of kernels if it has two species."""

    def observations(
        self, spec: ReleaseSpec, kernels: Kernels, start: int, stop: int, *, domain: Domain = "benchmark"
    ) -> Observations:
        """Observations ``start`` to ``stop``; observation i shows kernel, or pair, i // observations_per_kernel."""

    def fresh(
        self, spec: ReleaseSpec, start: int, stop: int, *, fields: Sequence[str], map_mode: str
    ) -> Mapping[str, Any]:
        """Images ``start`` to ``stop`` of the endless training sequence.

        Image i shows kernel i // observations_per_kernel; the kernels do not end at the count of the release. Both
        indices are 64-bit integers. The arrays have the shapes and types of
        :func:`qpibench.synthesis.fields.stream_fields`. They are in the memory of the backend's device and support
        DLPack.
        """
