"""What synthesis makes, and what a backend must be able to do.

Both backends implement :class:`Backend`; for the same spec they return the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.streams import Domain
from qpibench.specs import ReleaseSpec


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The kernels of a release, one row each.

    Attributes
    ----------
    image
        (kernel, y, x) float32: the single-scatterer image on the release's grid, amplitude 1.
    family
        (kernel,) bytes ``S16``: the family's name, such as ``b"eq7"``.
    fold
        (kernel,) int32: rotational symmetry 2, 3, 4 or 6; 0 for total symmetry; -1 where it is not known.
    phi1, B, phi2, C
        (kernel,) float64: parameters of eq. 7 in rad, rad/nm, rad and 1/nm^2; NaN where they are not known.
    """

    image: NDArray[np.float32]
    family: NDArray[np.bytes_]
    fold: NDArray[np.int32]
    phi1: NDArray[np.float64]
    B: NDArray[np.float64]
    phi2: NDArray[np.float64]
    C: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.fold)


@dataclass(frozen=True, kw_only=True)
class Observations:
    """A run of observations, one row each.

    Attributes
    ----------
    image
        (observation, y, x) float32.
    kernel
        (observation,) int32: the row of the kernel table.
    n_scatterers
        (observation,) int32.
    position_nm
        (observation, scatterer, xy) float64, padded with NaN behind ``n_scatterers``.
    snr_db, noise_sigma, noise_over_kernel_rms
        (observation,) float64, float32 and float32: signal-to-noise ratio in dB, standard deviation of the white noise
        in ``image``, and the latter over the root mean square of the kernel's image, NaN where that is 0. None where
        the spec has no white noise.
    """

    image: NDArray[np.float32]
    kernel: NDArray[np.int32]
    n_scatterers: NDArray[np.int32]
    position_nm: NDArray[np.float64]
    snr_db: NDArray[np.float64] | None = None
    noise_sigma: NDArray[np.float32] | None = None
    noise_over_kernel_rms: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.kernel)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The arrays that there are, by name."""
        return {name: values for name, values in vars(self).items() if values is not None}


class Backend(Protocol):
    """Makes the arrays of a release. Safe to call from several threads at once."""

    name: str

    def kernels(self, spec: ReleaseSpec, *, domain: Domain = "benchmark") -> Kernels:
        """All kernels of the release."""

    def observations(
        self, spec: ReleaseSpec, kernels: Kernels, start: int, stop: int, *, domain: Domain = "benchmark"
    ) -> Observations:
        """Observations ``start`` to ``stop``; observation i shows kernel i // observations_per_kernel."""

    def fresh(
        self, spec: ReleaseSpec, start: int, stop: int, *, fields: Sequence[str], map_mode: str
    ) -> Mapping[str, Any]:
        """Images ``start`` to ``stop`` of the endless training sequence, with kernels of their own.

        Image i shows kernel i // observations_per_kernel, behind the count of the release too; both are 64-bit
        numbers. The arrays have the shapes and types of :data:`qpibench.synthesis.stream.FIELDS`, lie in the memory of
        the backend's device and can be handed on by DLPack.
        """
