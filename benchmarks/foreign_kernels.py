"""Kernels outside equation 7, on which extraction entries are measured; isotropic and not, in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline, make_interp_spline
from scipy.special import hankel1, ive

from qpibench.specs import ReleaseSpec

Values = NDArray[np.float64]

Kernel = Callable[[ArrayLike, ArrayLike], Values]
"""Evaluates a kernel at offsets dx and dy from the scatterer in nm, which broadcast against each other."""

WAVELENGTH_NM = (0.8, 2.5)
"""Range of pi/k of the two-dimensional electron gas."""

DECAY_NM = (1.5, 4.0)
"""Range of the length over which the waves of the electron gas fall to 1/e."""

TIP_NM = 0.4
"""Full width at half maximum of the Gaussian tip."""

_PANEL_NM, _STEP_NM = 0.1, 0.02  # of the integral over the tip, and of the table of averages


def hankel_profile(r_nm: ArrayLike, *, k: float, decay_nm: float, delta: float) -> Values:
    """Change of the density of states around a point scatterer in a two-dimensional electron gas, without a tip.

    With the Green function G0(r) = -(i m / 2 hbar^2) H0(k r), H0 the Hankel function of the first kind, and the
    T-matrix T = (i hbar^2 / m)(exp(2 i delta) - 1), the change -(1/pi) Im[G0(r)^2 T] over the density of states without
    a scatterer, m / (2 pi hbar^2), is

        K(r) = Re[(exp(2 i delta) - 1) H0(k r)^2] / 2,

    which tends to (2 sin(delta) / (pi k r)) cos(2 k r + delta) at large k r.

    Parameters
    ----------
    r_nm
        Distances in nm, larger than 0.
    k
        Real part of the wavevector in rad/nm.
    decay_nm
        Length over which K falls to 1/e, by the imaginary part 1 / (2 decay_nm) of k; infinite without a decay.
    delta
        Phase shift in rad.
    """
    wave = hankel1(0, (k + 0.5j / decay_nm) * np.asarray(r_nm, dtype=np.float64))
    profile: Values = np.real((np.exp(2j * delta) - 1) * wave**2) / 2
    return profile


def tip_average(profile: Callable[[Values], Values], reach_nm: float) -> BSpline:
    """Average an isotropic kernel over a Gaussian tip of width :data:`TIP_NM`.

    Parameters
    ----------
    profile
        Function of the distance in nm; at 0 it may diverge as a power of the logarithm does.
    reach_nm
        Largest distance of interest.

    Returns
    -------
    BSpline
        The average at distances from 0 to ``reach_nm``, a spline of degree 5 through a fine table.
    """
    at, r, weight = _tip_integral(reach_nm)
    return make_interp_spline(at, weight @ profile(r), k=5)


@functools.lru_cache(maxsize=2)
def _tip_integral(reach_nm: float) -> tuple[Values, Values, Values]:
    """Distances R of the table, distances r of the integral, and weights (R, r).

    The angular integral of the Gaussian gives (r / s^2) exp(-(r^2 + R^2) / 2 s^2) I0(r R / s^2). Gauss-Legendre nodes
    lie in panels. In the first one r = panel t^3, which removes the logarithm at 0.
    """
    sigma = TIP_NM / np.sqrt(8 * np.log(2))
    at = np.arange(0, reach_nm + 3 * _STEP_NM, _STEP_NM)
    node, share = np.polynomial.legendre.leggauss(12)
    node, share = (node + 1) / 2, share / 2
    panels = np.arange(1, np.ceil((reach_nm + 9 * sigma) / _PANEL_NM))
    r = _PANEL_NM * np.concatenate([node**3, (panels[:, None] + node).ravel()])
    width = _PANEL_NM * np.concatenate([3 * node**2 * share, np.tile(share, len(panels))])
    gauss = np.exp(-((r - at[:, None]) ** 2) / (2 * sigma**2)) * ive(0, r * at[:, None] / sigma**2)
    return at, r, width * r / sigma**2 * gauss


@dataclass(frozen=True)
class Hankel:
    """An isotropic kernel of a two-dimensional electron gas, averaged over the tip; its largest value is 1 or -1.

    Its decay 1/r, its logarithm at the scatterer and its sign differ from eq. 7, its symmetry does not.
    """

    profile: BSpline

    @classmethod
    def draw(cls, rng: np.random.Generator, spec: ReleaseSpec) -> Hankel:
        """Draw wavelength, decay length and phase shift."""
        k, decay_nm = np.pi / rng.uniform(*WAVELENGTH_NM), rng.uniform(*DECAY_NM)
        delta = np.pi * rng.uniform()
        reach_nm = float(np.hypot(spec.grid.size_x_nm, spec.grid.size_y_nm)) + max(0.0, spec.scatterers.margin_nm) * 2
        profile = tip_average(lambda r: hankel_profile(r, k=k, decay_nm=decay_nm, delta=delta), reach_nm)
        return cls(BSpline(profile.t, profile.c / np.abs(profile(profile.t)).max(), profile.k))

    def __call__(self, dx: ArrayLike, dy: ArrayLike) -> Values:
        value: Values = self.profile(np.hypot(dx, dy))
        return value


@dataclass(frozen=True)
class Mixed:
    """The sum (f0(r) + f2(r) cos(2 theta + phase)) / 2 of two profiles of eq. 7, which no product f(r) g(theta) gives.

    ``profiles`` holds B (rad/nm), phi2 (rad) and C (1/nm^2) of f0 and f2. Values lie between -1/2 and 1.
    """

    profiles: tuple[tuple[float, float, float], tuple[float, float, float]]
    phase: float

    @classmethod
    def draw(cls, rng: np.random.Generator, spec: ReleaseSpec) -> Mixed:
        """Draw both profiles from the ranges of a spec of eq. 7, and the phase."""
        ranges = spec.kernels.model_dump()
        first, second = (
            (
                float(np.pi / rng.uniform(*ranges["wavelength_nm"])),
                float(np.pi * rng.uniform()),
                float(rng.uniform(*ranges["decay_nm"]) ** -2),
            )
            for _ in range(2)
        )
        return cls((first, second), 2 * np.pi * rng.uniform())

    def __call__(self, dx: ArrayLike, dy: ArrayLike) -> Values:
        r, theta = np.hypot(dx, dy), np.arctan2(dy, dx)
        f0, f2 = (np.sin(B * r + phi2) ** 2 * np.exp(-C * r**2) for B, phi2, C in self.profiles)
        angular = np.where(r == 0, 0.0, np.cos(2 * theta + self.phase))  # its mean where there is no angle
        value: Values = (f0 + f2 * angular) / 2
        return value


KERNELS: dict[str, type[Hankel] | type[Mixed]] = {"hankel": Hankel, "mixed": Mixed}
