"""Cramer-Rao bound of the kernel: the least error of an unbiased estimate from a noisy image with known positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from qpibench.families import get_family
from qpibench.grid import Grid
from qpibench.physics.superposition import kernel_image, superpose

Values = NDArray[np.float64]
Parameters = Mapping[str, float]

EXPECTED_ERROR = np.sqrt(2 / np.pi)
"""Mean of the absolute value of a normal number over its standard deviation."""

_STEP = 1e-5


def bound_std(
    image: Callable[[Parameters], Values], kernel: Callable[[Parameters], Values], at: Parameters, *, noise_sigma: float
) -> Values:
    """Least standard deviation of each pixel of a kernel, estimated without bias from an image with white noise.

    With the Jacobians J of the image and K of the kernel, by central differences, the covariance of the parameters is
    at least sigma^2 (J^T J)^-1, and that of the kernel K sigma^2 (J^T J)^-1 K^T.

    Parameters
    ----------
    image, kernel
        Functions of the parameters.
    at
        The true parameters.
    noise_sigma
        Standard deviation of the noise of a pixel of the image.

    Returns
    -------
    ndarray
        The standard deviations, in the shape of the kernel.
    """
    shape = kernel(at).shape
    of_image, of_kernel = _jacobian(image, at), _jacobian(kernel, at)
    triangle = np.linalg.qr(of_image, mode="r")  # R^T R = J^T J, and the condition number is not squared
    whitened = solve_triangular(triangle, of_kernel.T, trans="T")
    std: Values = noise_sigma * np.sqrt((whitened**2).sum(axis=0)).reshape(shape)
    return std


def _jacobian(function: Callable[[Parameters], Values], at: Parameters) -> Values:
    """Derivatives of all values, (value, parameter)."""
    columns = []
    for name, value in at.items():
        step = _STEP * max(abs(value), 0.1)
        more, less = (function({**at, name: value + sign * step}).ravel() for sign in (1, -1))
        columns.append((more - less) / (2 * step))
    return np.column_stack(columns)


def least_error(grid: Grid, position_nm: Values, parameters: Mapping[str, float], *, noise_sigma: float) -> float:
    """Mean absolute error of an eq. 7 kernel whose fold is known, for the best unbiased estimate with normal errors.

    It is the mean over pixels of sqrt(2 / pi) times :func:`bound_std`. A method that knows how kernels are distributed
    is not unbiased and may be below it.

    Parameters
    ----------
    grid
        Grid of the image and of the kernel.
    position_nm
        (scatterer, xy) positions, rows of NaN are padding.
    parameters
        fold, phi1, B, phi2 and C of the kernel. phi1 is known for total symmetry.
    noise_sigma
        Standard deviation of the noise.
    """
    eq7, fold = get_family("eq7"), int(parameters["fold"])
    known: dict[str, float] = {"fold": fold} if fold else {"fold": fold, "phi1": parameters["phi1"]}
    unknown = {name: float(value) for name, value in parameters.items() if name not in known}
    std = bound_std(
        lambda free: superpose(grid, eq7, position_nm, **known, **free),
        lambda free: kernel_image(grid, eq7, **known, **free),
        unknown,
        noise_sigma=noise_sigma,
    )
    return float(EXPECTED_ERROR * std.mean())
