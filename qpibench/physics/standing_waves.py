r"""The wavevector of the standing waves in a kernel, with its standard deviation.

Equation
--------
Around a point scatterer in a round band the local density of states has the s wave :math:`H_0^{(1)}(k r)^2`
(:mod:`qpibench.families.surface_state`). A tip of finite width adds its Laplacian, which is
:math:`2 k^2 [H_1^{(1)}(k r)^2 - H_0^{(1)}(k r)^2]`, and the p wave has the same form. So the mean of a kernel over all
directions is fitted, outside the core, by

.. math::

    f(r) = e^{-r/\ell} \operatorname{Re}\left[a H_0^{(1)}(k r)^2 + b H_1^{(1)}(k r)^2\right] + c

with complex a and b. The waves have the wavevector q = 2 k. Without b, a tip of 0.5 nm shifts q by 0.1 %. Only the part
of a kernel that is the same in all directions is fitted: a kernel that has next to none, such as cos 2 theta times a
function of r, has no standing waves here.

The standard deviation is that of the linearised fit (Gauss and Newton). Its square is larger by chi squared over the
degrees of freedom if this is above 1, and by the number of neighbouring distances that err together, which is the
integrated autocorrelation of what the fit leaves.

Source: M. F. Crommie, C. P. Lutz, D. M. Eigler, Nature 363, 524 (1993), doi:10.1038/363524a0; G. A. Fiete,
E. J. Heller, Rev. Mod. Phys. 75, 933 (2003), doi:10.1103/RevModPhys.75.933.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.physics.polar import inscribed_radii, on_rays, pixels_on_rays
from qpibench.physics.q_vector import ring_wavevector
from qpibench.physics.shapes import check_shape

Values = NDArray[np.float64]

LEAST_POINTS = 12
"""Distances outside the core that a fit needs, at most a pixel apart."""

_RAYS = 48
_CORE = 0.4  # of the period: closer, what a tip adds beyond its Laplacian would shift q by up to 0.1 %
_STARTS = (0.9, 0.95, 1.0, 1.05, 1.1)  # over the radius of the strongest ring of the spectrum
_NEAR = (0.7, 1.4)  # limits of k, over that radius
_LEAST_SHARE = 0.03  # rms of the mean over directions, over that of the kernel; on the pixels cos 4 theta has 0.02
_LONGEST = 10.0  # decay length, over the length of a ray


@dataclass(frozen=True, kw_only=True)
class StandingWaves:
    """The standing waves of a kernel.

    Attributes
    ----------
    q, q_std
        Wavevector in rad/nm, 2 pi included, and its standard deviation.
    decay_nm
        Decay length l of the amplitude.
    r_nm, mean, std, fit
        (r,) each: distances outside the core, the mean of the kernel over all directions, its standard deviation, and
        the fitted waves.
    chi2
        Chi squared over the degrees of freedom; 1 if no standard deviation is known.
    """

    q: float
    q_std: float
    decay_nm: float
    r_nm: Values
    mean: Values
    std: Values
    fit: Values
    chi2: float


def standing_waves(
    grid: Grid, kernel: NDArray[np.floating], std: NDArray[np.floating] | None = None, *, core_nm: float = 0.0
) -> StandingWaves | None:
    """Fit the standing waves of a kernel, in the part that is the same in all directions.

    Parameters
    ----------
    grid
        Pixels of the kernel.
    kernel, std
        (y, x), finite: the kernel and its standard deviation, in any one unit. Pixels at one distance are taken to err
        together, as those of an extracted kernel do, so that the mean over directions has the same standard deviation.
    core_nm
        Radius of the core, which is left out. A pixel, or 0.4 of the period if that is more, is left out anyway.

    Returns
    -------
    StandingWaves or None
        None if the kernel has no ring, as for zeros, or too few points outside the core, or if the rms of its mean over
        all directions is below 3 % of its rms there.

    Raises
    ------
    UsageError
        If a shape is not that of the grid, or a standard deviation is negative.
    """
    from scipy.optimize import least_squares

    check_shape("kernel", kernel[None], "kernel", *grid.shape)
    if std is not None:
        check_shape("std", std[None], "kernel", *grid.shape)
        if not (std >= 0).all():
            raise UsageError("std has pixels that are negative or not finite.")
    ring = float(ring_wavevector(grid, kernel[None], core_nm=core_nm)[0])
    if not np.isfinite(ring):
        return None
    r_nm = inscribed_radii(grid)
    r_nm = r_nm[r_nm > max(core_nm, grid.pitch_x_nm, grid.pitch_y_nm, _CORE * 2 * np.pi / ring)]
    if len(r_nm) < LEAST_POINTS:
        return None
    pixels = pixels_on_rays(grid, r_nm, _RAYS)
    rays = on_rays(kernel, pixels)
    mean = rays.mean(axis=0)
    if np.mean(mean**2) < _LEAST_SHARE**2 * np.mean(rays**2):
        return None
    scale = float(np.abs(mean).max())
    # In units of the kernel, so that the fit ends at the same place whatever unit the kernel has.
    spread = np.full(len(r_nm), scale) if std is None else on_rays(std, pixels).mean(axis=0)
    spread = np.maximum(spread, 1e-6 * scale)

    def left(parameters: Values) -> Values:
        waves = _waves(r_nm, *parameters) / spread[:, None]
        values = mean / spread
        found: Values = waves @ np.linalg.lstsq(waves, values, rcond=None)[0] - values
        return found

    longest = _LONGEST * float(r_nm[-1])
    low, high = np.array(_NEAR) * ring / 2
    fits = [
        least_squares(left, [start * ring / 2, 2 / longest], bounds=([low, 1 / longest], [high, 1 / float(r_nm[0])]))
        for start in _STARTS
    ]
    best = min(fits, key=lambda one: one.cost)
    freedom = len(r_nm) - 7
    chi2 = 2 * best.cost / freedom
    covariance = np.linalg.pinv(best.jac.T @ best.jac) * (max(chi2, 1.0) if std is not None else chi2)
    covariance *= _correlation(best.fun)
    return StandingWaves(
        q=2 * float(best.x[0]),
        q_std=2 * float(np.sqrt(covariance[0, 0])),
        decay_nm=1 / float(best.x[1]),
        r_nm=r_nm,
        mean=mean,
        std=spread if std is not None else spread * np.sqrt(chi2),
        fit=mean + best.fun * spread,
        chi2=chi2 if std is not None else 1.0,
    )


def _correlation(left: Values) -> float:
    """Points for each independent one: the integrated autocorrelation of what a fit leaves, up to its first zero."""
    products = np.correlate(left, left, mode="full")[len(left) - 1 :]
    if products[0] <= 0:
        return 1.0
    ends = np.flatnonzero(products <= 0)
    positive = products[1 : ends[0] if len(ends) else None]
    return float(1 + 2 * positive.sum() / products[0])


def _waves(r_nm: Values, k: float, damping: float) -> Values:
    """Real and imaginary parts of the waves, and a constant: (r, 5)."""
    from scipy.special import hankel1

    falling = np.exp(-damping * r_nm)
    waves = [hankel1(order, k * r_nm) ** 2 * falling for order in (0, 1)]
    return np.column_stack([part for wave in waves for part in (wave.real, wave.imag)] + [np.ones(len(r_nm))])
