"""Facts about the kernels of a release that metrics compare with, besides their images."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qpibench.columns import FOLD
from qpibench.corruptions import position_error
from qpibench.evaluation.metrics import Metric
from qpibench.evaluation.metrics.bound import CONDITION_LIMIT
from qpibench.grid import Grid
from qpibench.specs import ImportedSpec, ReleaseSpec

if TYPE_CHECKING:
    from qpibench.evaluation.predictions import Predictions
    from qpibench.release import Release


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the formula of the kernels says; see :class:`qpibench.evaluation.metrics.Case`.

    Attributes
    ----------
    core_nm
        Radius of the core of all kernels; 0 without one.
    shift_nm
        Two standard deviations of the told positions along each axis; 0 if they are exact.
    wavevector
        (kernel,) rad/nm; NaN where not known.
    fold
        (kernel,) symmetry; -1 where not known.
    """

    core_nm: float
    shift_nm: float
    wavevector: NDArray[np.float64]
    fold: NDArray[np.int32]

    def of(self, kernel: NDArray[np.integer], uses: Collection[str]) -> dict[str, Any]:
        """Return the fields of a case for the kernel of each image, (n,); arrays that no metric uses are left out."""
        arrays: dict[str, NDArray[Any]] = {"wavevector": self.wavevector, "fold": self.fold}
        numbers = {"core_nm": self.core_nm, "shift_nm": self.shift_nm}
        return numbers | {name: values[kernel] for name, values in arrays.items() if name in uses}


def facts_of(release: Release) -> Facts:
    """Return the facts of a release's kernels; of an imported release they are not known."""
    spec, family, parameters = release.spec, release.family, release.kernels.parameters
    count = len(release.kernels)
    is_known = isinstance(spec, ReleaseSpec)
    return Facts(
        core_nm=family.core_radius_nm(spec.kernels) if isinstance(spec, ReleaseSpec) else 0.0,
        shift_nm=2 * _position_error_nm(spec),
        wavevector=family.wavevector(parameters) if is_known else np.full(count, np.nan),
        fold=parameters.get(FOLD.name, np.full(count, -1, np.int32)) if is_known else np.full(count, -1, np.int32),
    )


def has_bound(release: Release) -> bool:
    """Whether the Cramer-Rao bound of images is known.

    It is for the linear superposition of one kernel of eq. 7 an image, with white noise and no other corruption.
    """
    spec = release.spec
    return (
        isinstance(spec, ReleaseSpec)
        and spec.kernels.family == "eq7"
        and set(spec.corruptions or {}) == {"white_noise"}
        and spec.species is None
        and spec.scatterers.superposition is None
    )


def bound_of(release: Release, index: NDArray[np.integer], grid: Grid) -> NDArray[np.float64]:
    """Return the Cramer-Rao bound of images, by row of the release, for kernels on a grid; see the field of a case."""
    if not has_bound(release):
        return np.full(len(index), np.nan)
    from qpibench.physics.bound import mean_variance  # its import loads Numba

    kernel = release.observation_kernel[index]
    return mean_variance(
        release.grid,
        release.told_position_nm(index),
        {name: values[kernel] for name, values in release.kernels.parameters.items()},
        noise_sigma=release.take("noise_sigma", index),
        condition_limit=CONDITION_LIMIT,
        kernel_grid=grid,
    )


def _position_error_nm(spec: ReleaseSpec | ImportedSpec) -> float:
    """Standard deviation of the told positions."""
    table = (spec.corruptions if isinstance(spec, ReleaseSpec) else None) or {}
    settings = table.get("position_error")
    return settings.sigma_nm if isinstance(settings, position_error.Settings) else 0.0


def applicable(metrics: Iterable[Metric], predictions: Predictions, release: Release, task: str) -> tuple[Metric, ...]:
    """Return the metrics of which the predictions have every optional array, and the release every fact.

    A metric of stated standard deviations needs an entry that states them, one of the bound a release that has it, and
    one of the symmetry a kernel of known fold. Metrics of the wavevector need none from the formula: without it they
    compare with that of the true kernel. With two species of scatterers a metric that compares one kernel with the
    observation has no meaning.
    """
    rows = slice(0, 1)
    optional = {"std": predictions.std, "kernel_full": predictions.kernel_full, "species": predictions.species}
    lacking = {name for name, read in optional.items() if read(task, rows) is None}
    if predictions.n_species > 1:
        lacking |= {"observation", "position_nm"}
    if not has_bound(release):
        lacking.add("bound")
    if (facts_of(release).fold < 0).all():
        lacking.add("fold")
    return tuple(
        metric for metric in metrics if not any(lacking.intersection(column.uses) for column in metric.columns)
    )
