"""Cramer-Rao bound of the kernel: the least error of an unbiased estimate from a noisy image with known positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import sincospi_f64
from qpibench.arithmetic.ieee import sqrt
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
    from scipy.linalg import solve_triangular

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
        lambda free: superpose(grid, eq7, position_nm, None, **known, **free),
        lambda free: kernel_image(grid, eq7, **known, **free),
        unknown,
        noise_sigma=noise_sigma,
    )
    return float(EXPECTED_ERROR * std.mean())


def mean_variance(
    grid: Grid,
    position_nm: Values,
    parameters: Mapping[str, NDArray[np.generic]],
    *,
    noise_sigma: NDArray[np.floating],
    condition_limit: float,
    kernel_grid: Grid | None = None,
) -> Values:
    """Least variance of an unbiased estimate of an eq. 7 kernel whose fold is known, mean over its pixels.

    It is the mean of the squares of :func:`bound_std`, from analytic derivatives. The bound is that of the linearised
    problem. It says nothing about estimates from an image that hardly determines the parameters: if its Fisher matrix
    is nearly singular, or if the bound exceeds the mean square of the kernel, which is the error of zeros.

    Parameters
    ----------
    grid
        Grid of the images.
    position_nm
        (image, scatterer, xy) positions, rows of NaN are padding.
    parameters
        fold, phi1, B, phi2 and C of the kernel of each image, (image,). phi1 is known for total symmetry.
    noise_sigma
        (image,) standard deviation of the white noise.
    condition_limit
        Largest condition number of a Fisher matrix, scaled to a diagonal of ones, of which the bound is computed.
    kernel_grid
        Grid of the kernels; that of the images if None.

    Returns
    -------
    ndarray
        (image,) float64. NaN for an image without noise. Infinite where the condition number exceeds the limit,
        or the bound the mean square of the kernel.
    """
    pixels = grid if kernel_grid is None else kernel_grid
    variance, origin = np.full(len(position_nm), np.nan), np.zeros((1, 2))
    for image, (positions, sigma) in enumerate(zip(position_nm, noise_sigma.astype(np.float64), strict=True)):
        if not sigma > 0:
            continue
        own = {name: float(parameters[name][image]) for name in ("fold", "phi1", "B", "phi2", "C")}
        unknown = slice(0 if own["fold"] else 1, None)
        of_image, of_kernel = (
            _derivatives(each.x_nm, each.y_nm, at, *own.values()).reshape(4, -1)[unknown]
            for each, at in ((grid, positions), (pixels, origin))
        )
        scale = np.sqrt((of_image**2).sum(axis=1))
        variance[image] = np.inf
        if scale.all():
            of_image, of_kernel = of_image / scale[:, None], of_kernel / scale[:, None]
            fisher = of_image @ of_image.T
            if np.linalg.cond(fisher) <= condition_limit:
                inverse = np.linalg.solve(fisher, of_kernel @ of_kernel.T)
                least = sigma**2 * np.trace(inverse) / of_kernel.shape[1]
                square = (kernel_image(pixels, get_family("eq7"), **own) ** 2).mean()
                variance[image] = least if least <= square else np.inf
    return variance


@compiled(nogil=True, error_model="numpy")
def _derivatives(x, y, position, fold, phi1, B, phi2, C):  # type: ignore[no-untyped-def]
    """Derivatives of the superposition of eq. 7 by phi1, B, phi2 and C, (4, y, x); see :mod:`qpibench.families.eq7`.

    With z = (dx + i dy) / r the angular factor is (1 - Re(z^n exp(2 i phi1))) / 2. At r = 0 z is set to 0, which gives
    its angular mean.
    """
    derivatives = np.zeros((4, len(y), len(x)))
    is_total, is_2, is_3 = np.float64(fold == 0), np.float64(fold == 2), np.float64(fold == 3)
    is_4, is_6 = np.float64(fold == 4), np.float64(fold == 6)
    sin_phi, cos_phi = sincospi_f64(2 * phi1 / np.pi)
    frequency, phase = 2 * B / np.pi, 2 * phi2 / np.pi
    for scatterer in range(len(position)):
        x0, y0 = position[scatterer]
        if np.isnan(x0 + y0):
            continue
        across = np.exp(-C * (x - x0) ** 2)
        for row in range(len(y)):
            dy = y[row] - y0
            along = np.exp(-C * dy * dy)
            for column in range(len(x)):
                dx = x[column] - x0
                r2 = dx * dx + dy * dy
                r = sqrt(r2)
                inverse = 1 / r if r > 0 else 0.0
                c, s = dx * inverse, dy * inverse
                c2, s2 = c * c - s * s, 2 * c * s
                c3, s3 = c2 * c - s2 * s, c2 * s + s2 * c
                c4, s4 = c2 * c2 - s2 * s2, 2 * c2 * s2
                c6, s6 = c3 * c3 - s3 * s3, 2 * c3 * s3
                cos_n = is_total + is_2 * c2 + is_3 * c3 + is_4 * c4 + is_6 * c6
                sin_n = is_2 * s2 + is_3 * s3 + is_4 * s4 + is_6 * s6
                angular = 0.5 - 0.5 * (cos_n * cos_phi - sin_n * sin_phi)
                turning = sin_n * cos_phi + cos_n * sin_phi
                swinging, cos_r = sincospi_f64(frequency * r + phase)
                radial = 0.5 - 0.5 * cos_r
                envelope = across[column] * along
                derivatives[0, row, column] += turning * radial * envelope
                derivatives[1, row, column] += angular * r * swinging * envelope
                derivatives[2, row, column] += angular * swinging * envelope
                derivatives[3, row, column] -= angular * radial * r2 * envelope
    return derivatives
