"""Radial profiles in cubic B-splines on equally spaced knots.

A profile is a function of the distance r from the scatterer. It is 0 beyond the last knot interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

DEGREE = 3


@dataclass(frozen=True)
class RadialBasis:
    """Radial functions whose linear combinations are the profiles of a family.

    Attributes
    ----------
    spacing_nm
        Distance of neighbouring knots.
    splines
        (spline, function) float64: coefficients of every function in the cubic B-splines of :func:`spline_values`.
        Function 0 is the mean profile; a profile has it once. The others are directions in which profiles differ.
    """

    spacing_nm: float
    splines: NDArray[np.float64]

    @property
    def reach_nm(self) -> float:
        """Distance from which on every function is 0."""
        return (len(self.splines) - DEGREE) * self.spacing_nm

    @property
    def size(self) -> int:
        """Number of functions, the mean profile included."""
        return int(self.splines.shape[1])

    @property
    def peak(self) -> float:
        """Bound of the mean profile's largest value."""
        return float(np.abs(self.splines[:, 0]).max())

    def leading(self, count: int) -> RadialBasis:
        """The basis of the first functions."""
        return RadialBasis(self.spacing_nm, self.splines[:, :count])

    def values(self, r_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (r, function) of the functions at distances in nm."""
        return spline_values(r_nm, self.spacing_nm, len(self.splines)) @ self.splines


def spline_count(reach_nm: float, spacing_nm: float) -> int:
    """Number of splines that cover the distances from 0 to a reach."""
    return int(np.ceil(reach_nm / spacing_nm)) + DEGREE


def spline_values(r_nm: NDArray[np.float64], spacing_nm: float, count: int) -> NDArray[np.float64]:
    """Values (r, spline) of ``count`` B-splines at distances in nm; spline j has its peak at (j - 1) spacings."""
    values, place = np.zeros((len(r_nm), count)), r_nm / spacing_nm
    inside = place < count - DEGREE
    values[inside] = BSpline.design_matrix(place[inside], np.arange(-DEGREE, count + 1.0), DEGREE).toarray()
    return values


@nb.njit(inline="always")
def spline_weights(t):  # type: ignore[no-untyped-def]
    """Values of the four splines that are not 0 at the fraction t of a knot interval."""
    u = 1.0 - t
    return (
        u * u * u / 6.0,
        (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
        (3.0 * u * u * u - 6.0 * u * u + 4.0) / 6.0,
        t * t * t / 6.0,
    )


@nb.njit(inline="always")
def spline_slopes(t):  # type: ignore[no-untyped-def]
    """Derivatives of :func:`spline_weights` by t."""
    u = 1.0 - t
    return -0.5 * u * u, 1.5 * t * t - 2.0 * t, 2.0 * u - 1.5 * u * u, 0.5 * t * t
