"""The kernel family of arXiv 2506.05325, eq. 7, and its linear superposition.

The scattering kernel is the image of a single scatterer at the origin. In polar coordinates r and theta,

    A(r, theta) = sin^2(n theta / 2 + phi1)  sin^2(B r + phi2)  exp(-C r^2),

where the fold n is 2, 3, 4 or 6, or 0 for total symmetry, which has phi1 = pi/2 and hence an angular factor of 1. (The
article writes A_n for n/2.) At r = 0 the angle is not defined, and the angular factor is its angular mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.grid import Grid


def kernel(
    dx: ArrayLike, dy: ArrayLike, *, fold: int, phi1: float, B: float, phi2: float, C: float
) -> NDArray[np.float64]:
    """Evaluate eq. 7 at offsets from the scatterer.

    Parameters
    ----------
    dx, dy
        Offsets in nm; they broadcast against each other.
    fold
        Rotational symmetry 2, 3, 4 or 6; 0 for total symmetry.
    phi1
        Angular phase in rad; pi/2 for total symmetry.
    B
        Radial frequency in rad/nm; the wavelength is pi/B.
    phi2
        Radial phase in rad.
    C
        Envelope in 1/nm^2; the decay length is 1/sqrt(C).

    Returns
    -------
    ndarray
        float64 of the broadcast shape, between 0 and 1.
    """
    r = np.hypot(dx, dy)
    theta = np.arctan2(dy, dx)
    angular_mean = 0.5 if fold else np.sin(phi1) ** 2
    angular = np.where(r == 0, angular_mean, np.sin(fold / 2 * theta + phi1) ** 2)
    radial = np.sin(B * r + phi2) ** 2 * np.exp(-C * r**2)
    result: NDArray[np.float64] = angular * radial
    return result


def kernel_image(grid: Grid, *, fold: int, phi1: float, B: float, phi2: float, C: float) -> NDArray[np.float64]:
    """Evaluate eq. 7 on a grid, the scatterer at its centre; see :func:`kernel` for the parameters.

    Returns
    -------
    ndarray
        (ny, nx) float64, indexed [y, x].
    """
    return kernel(grid.x_nm, grid.y_nm[:, None], fold=fold, phi1=phi1, B=B, phi2=phi2, C=C)


def superpose(
    grid: Grid, position_nm: NDArray[np.float64], *, fold: int, phi1: float, B: float, phi2: float, C: float
) -> NDArray[np.float64]:
    """Add up the images of identical scatterers: Y(r) = sum_s A(r - r_s).

    Parameters
    ----------
    grid
        Grid of the observation.
    position_nm
        (scatterer, 2) float64: x and y of every scatterer in nm, inside the field or not. Rows of NaN are padding.
    fold, phi1, B, phi2, C
        See :func:`kernel`.

    Returns
    -------
    ndarray
        (ny, nx) float64, indexed [y, x].
    """
    observation = np.zeros(grid.shape)
    for x, y in position_nm[~np.isnan(position_nm).any(axis=1)]:
        observation += kernel(grid.x_nm - x, grid.y_nm[:, None] - y, fold=fold, phi1=phi1, B=B, phi2=phi2, C=C)
    return observation


def q_vector(B: ArrayLike) -> NDArray[np.float64]:
    """Wavevector of the kernel's rings in rad/nm, 2 pi included: sin^2(B r + phi2) oscillates with q = 2 B."""
    return 2 * np.asarray(B, dtype=np.float64)
