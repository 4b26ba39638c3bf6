"""What the extraction has to know about the radial profiles of a family: :class:`ProfileModel`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.radial import RadialBasis


class ProfileModel(Protocol):
    """A family of radial profiles: how a vector, the shape, determines a profile, and which shapes are likely.

    Attributes
    ----------
    basis
        Radial functions in which a profile is a vector of coefficients, (function,); the first coefficient is 1.
    spread
        (function - 1,): standard deviations of the other coefficients over the family, about 0.
    mean, precision
        Mean (shape,) and inverse covariance (shape, shape) of the shapes of the family.
    """

    basis: RadialBasis
    spread: NDArray[np.float64]
    mean: NDArray[np.float64]
    precision: NDArray[np.float64]

    def alternatives(self) -> Sequence[ProfileModel]:
        """Models of wider families, for an image whose kernel is not of this one; their shapes mean the same."""

    def coefficient(self, shape: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coefficients (function,) of a profile."""

    def starts(self, coefficient: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shapes (n, shape) from which a descent may start, and their coefficients (n, function).

        Parameters
        ----------
        coefficient
            (function,): the linear estimate of the profile.
        """

    def tangent(self, shape: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives (function, shape) of the coefficients."""
