"""What a fit of eq. 7 says about an observation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from shared.eq7_kernel import ROUNDING, Eq7, FreeEq7
from shared.extractor import Extraction, Observation
from shared.joint_fit import JointFit
from shared.refined import scatterers_found


def extraction(
    observation: Observation,
    kernel: Eq7,
    covariance: NDArray[np.float64],
    noise: float,
    further: Mapping[str, object] | None = None,
) -> Extraction:
    """The kernel with its standard deviation; diagnostics are its parameters, ``noise`` (standard deviation), and more.

    Parameters
    ----------
    observation
        What was seen.
    kernel
        The kernel.
    covariance
        (free, free): covariance of its free parameters.
    noise
        Variance of the noise.
    further
        Further diagnostics.
    """
    std = kernel.std(observation.kernel_grid, covariance)
    return Extraction(
        kernel=kernel.image(observation.kernel_grid),
        kernel_full=kernel.image(observation.grid.offsets),
        std=np.hypot(std, ROUNDING),
        diagnostics={**kernel.named(), "noise": float(np.sqrt(noise)), **(further or {})},
    )


def extraction_of(observation: Observation, fit: JointFit) -> Extraction:
    """The kernel of a joint fit; the diagnostics have its scatterers."""
    assert isinstance(fit.kernel, FreeEq7)
    return extraction(observation, fit.kernel.kernel, fit.kernel_covariance(), fit.noise, scatterers_found(fit))
