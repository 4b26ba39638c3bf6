"""What a fit of eq. 7 says about an observation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from shared.eq7_choice import Look
from shared.eq7_kernel import ROUNDING, Eq7, FreeEq7
from shared.extractor import Extraction
from shared.joint_fit import JointFit
from shared.refined import scatterers_found


def extraction(
    look: Look,
    kernel: Eq7,
    covariance: NDArray[np.float64],
    noise: float,
    further: Mapping[str, object] | None = None,
) -> Extraction:
    """The kernel with its standard deviation, in units of the observation.

    Diagnostics are its parameters, ``noise`` (standard deviation), ``nuisance`` (what else the image shows), and more.

    Parameters
    ----------
    look
        The image.
    kernel
        The kernel, over the scale of the look.
    covariance
        (free, free): covariance of its free parameters.
    noise
        Variance of the noise, over the square of the scale.
    further
        Further diagnostics.
    """
    observation, scale = look.observation, look.scale
    std = kernel.std(observation.kernel_grid, covariance)
    return Extraction(
        kernel=scale * kernel.image(observation.kernel_grid),
        kernel_full=scale * kernel.image(observation.grid.offsets),
        std=scale * np.hypot(std, ROUNDING * abs(kernel.amplitude)),
        diagnostics={
            **kernel.named(),
            "amplitude": scale * kernel.amplitude,
            "noise": scale * float(np.sqrt(noise)),
            "nuisance": look.nuisance,
            **(further or {}),
        },
    )


def extraction_of(look: Look, fit: JointFit) -> Extraction:
    """The kernel of a joint fit; the diagnostics have its scatterers."""
    assert isinstance(fit.kernel, FreeEq7)
    return extraction(look, fit.kernel.kernel, fit.kernel_covariance(), fit.noise, scatterers_found(fit))
