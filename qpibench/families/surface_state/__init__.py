r"""Surface states around a point scatterer: standing waves in the local density of states of a 2D electron gas.

Equation
--------
Electrons of effective mass :math:`m^*` above the band bottom :math:`E_0` have, at the energy :math:`E` relative to the
Fermi level, the wavevector :math:`k = \sqrt{2 m^* (E - E_0)}/\hbar`. A scatterer much smaller than the wavelength
scatters only the s wave. With

.. math::

    G_0(r) = -\frac{i m^*}{2 \hbar^2} H_0^{(1)}(k r), \qquad
    T = \frac{i \hbar^2}{m^*} \left(\alpha e^{2 i \delta} - 1\right), \qquad
    \Delta N(r) = -\frac{1}{\pi} \operatorname{Im}\left[G_0(r)^2 T\right]

and :math:`N_0 = -\operatorname{Im} G_0(0)/\pi = m^*/(2 \pi \hbar^2)` per spin, the local density of states changes by

.. math::

    \frac{\Delta N(r)}{N_0} = \frac{1}{2} \operatorname{Re}\left[\left(\alpha e^{2 i \delta} - 1\right)
    H_0^{(1)}(k r)^2\right] e^{-r/\ell}.

- *Phase shift.* The phase shift :math:`\eta` is complex if electrons are absorbed, that is scattered into the bulk: the
  s wave that leaves has the amplitude :math:`e^{2 i \eta} = \alpha e^{2 i \delta}` with
  :math:`\delta = \operatorname{Re} \eta` and :math:`\alpha = e^{-2 \operatorname{Im} \eta}` from 1 (elastic) to 0
  (black dot). A weak attractive scatterer has :math:`\delta > 0`.
- *Lifetime.* A linewidth :math:`\Gamma = 2 \operatorname{Im} E = \hbar/\tau` (full width) shortens the ripples. The
  factor :math:`e^{-r/\ell}` with :math:`\ell = \hbar v/\Gamma = v \tau`, :math:`\hbar v = 2 (E - E_0)/k` is that of
  :math:`e^{2 i k r}` to first order in :math:`\Gamma`: the electron travels :math:`2 r` and its amplitude decays by
  :math:`e^{-t/(2 \tau)}`. The wavevector in the Hankel function stays real.
- *Two bands* without interband scattering add up, weighted with their densities of states, as if electrons tunneled
  equally well into both: :math:`\Delta N/N_0 = \sum_i m_i (\Delta N/N_0)_i / \sum_i m_i`. Each has its own phase shift,
  and both have the same :math:`\alpha`.
- *Elliptic mass.* With a light mass along the axis u and a heavy one along v, of ratio :math:`\rho`, coordinates scaled
  to :math:`u \rho^{-1/4}, v \rho^{1/4}` give back the round band of mass :math:`m^* = \sqrt{m_u m_v}`, which also
  determines :math:`N_0`. Contours of equal phase are ellipses.
- *Tip.* The density of states is averaged over a Gaussian of stated full width at half maximum, which keeps the value
  at the scatterer finite (without it :math:`\Delta N \sim \ln^2 r`).

Limits, without tip and lifetime, for :math:`k r \gg 1`: elastic scatterers have
:math:`\Delta N/N_0 \to (2 \sin \delta/(\pi k r)) \cos(2 k r + \delta)`, the black dot has
:math:`-\sin(2 k r)/(\pi k r)`. An elastic scatterer changes the s wave's density from :math:`J_0^2` to
:math:`(J_0 \cos \delta - Y_0 \sin \delta)^2`, which is the same formula.

Values are :math:`\Delta N/N_0` divided by the constant ``unit``. They are signed.

*Multiple scattering*, with ``scatterers.superposition = "multiple"``: with
:math:`h_i = H_0^{(1)}(k |\mathbf r - \mathbf r_i|) e^{-|\mathbf r - \mathbf r_i|/2 \ell}`, the same functions between
scatterers, :math:`h_{ij}`, and :math:`s = \alpha e^{2 i \delta} - 1`, an image of several scatterers is

.. math::

    \frac{\Delta N(\mathbf r)}{N_0} = \frac{1}{2} \operatorname{Re} \sum_{ij} h_i \tau_{ij} h_j, \qquad
    \tau = \left(s^{-1} - \tfrac{1}{2} h\right)^{-1}, \quad h_{ii} = 0,

because :math:`M = (T^{-1} - G_0)^{-1} = (i \hbar^2/m^*) \tau` in
:math:`\Delta N = -\operatorname{Im}[\sum_{ij} G_0(\mathbf r, \mathbf r_i) M_{ij} G_0(\mathbf r_j, \mathbf r)]/\pi`. Two
bands scatter each on its own, and the tip averages the sum. To lowest order in s it is the sum of kernels. The kernel
stays the image of a single scatterer.

Parameters
----------
energy (meV, relative to the Fermi level: the sample bias), k (rad/nm), damping :math:`1/\ell` (1/nm), delta (rad),
alpha, tip_fwhm (nm), mass_ratio, axis (rad, direction of the light mass from x), and the same of a second band:
share_2 (its part of the density of states), k_2, damping_2, delta_2. The ripples have the wavevector q = 2 k; for an
elliptic mass this is the geometric mean of both axes.

Sources
-------
- M. F. Crommie, C. P. Lutz, D. M. Eigler, Nature 363, 524 (1993), doi:10.1038/363524a0: standing waves on Cu(111).
- E. J. Heller, M. F. Crommie, C. P. Lutz, D. M. Eigler, Nature 369, 464 (1994), doi:10.1038/369464a0: complex phase
  shift, black dot.
- G. A. Fiete, E. J. Heller, Rev. Mod. Phys. 75, 933 (2003), doi:10.1103/RevModPhys.75.933, arXiv:cond-mat/0211607:
  scattering theory of surface states.
- L. L. Foldy, Phys. Rev. 67, 107 (1945), doi:10.1103/PhysRev.67.107; M. Lax, Rev. Mod. Phys. 23, 287 (1951),
  doi:10.1103/RevModPhys.23.287: multiple scattering by point scatterers.
- L. Bürgi, O. Jeandupeux, H. Brune, K. Kern, Phys. Rev. Lett. 82, 4516 (1999), doi:10.1103/PhysRevLett.82.4516: decay
  of standing waves by the lifetime.
- S. Crampin, J. Kröger, H. Jensen, R. Berndt, Phys. Rev. Lett. 95, 029701 (2005), doi:10.1103/PhysRevLett.95.029701,
  arXiv:cond-mat/0410542: a factor of 2 in lifetimes from the decay of standing waves. Here it follows from the complex
  energy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.arithmetic.scattered_waves import ScatteredWaves, scattered_waves, superpose_waves
from qpibench.arithmetic.standing_waves import WaveBand, standing_waves
from qpibench.arithmetic.superposition import Axes
from qpibench.columns import FOLD, fold_label, parameter_column
from qpibench.families import Parameters
from qpibench.families.surface_state.ranges import Ranges, electron_wavevector
from qpibench.ranges import between

PI = math.pi

FWHM_OVER_SIGMA = 2.3548200450309493  # 2 sqrt(2 ln 2)

SAMPLES_PER_PERIOD, SAMPLES_PER_SIGMA = 9, 1.6
"""Samples in the shortest period and in the tip's standard deviation. The spline's errors are then below 1e-5 of the
largest value outside the core, and below 1e-4 of the largest value inside."""

SAMPLES_PER_CORE, FEWER_PER_SIGMA = 6, 4 / 3
"""Samples in the core's radius with which fewer in the standard deviation are enough: the errors of the
centre halve with each sample."""

COLUMNS = (
    FOLD,
    parameter_column("energy", "meV", "energy of the electrons relative to the Fermi level"),
    parameter_column("k", "rad/nm", "wavevector of the electrons, 2 pi included; the ripples have 2 k"),
    parameter_column("damping", "1/nm", "inverse decay length of the ripples, linewidth over hbar v"),
    parameter_column("delta", "rad", "real part of the phase shift"),
    parameter_column("alpha", "1", "amplitude of the scattered s wave, 0 for a black dot"),
    parameter_column("tip_fwhm", "nm", "full width at half maximum of the Gaussian tip"),
    parameter_column("mass_ratio", "1", "heavy over light mass"),
    parameter_column("axis", "rad", "direction of the light mass from x"),
    parameter_column("share_2", "1", "share of the second band in the density of states, 0 if there is none"),
    parameter_column("k_2", "rad/nm", "wavevector in the second band, 2 pi included"),
    parameter_column("damping_2", "1/nm", "inverse decay length in the second band"),
    parameter_column("delta_2", "rad", "real part of the phase shift in the second band"),
    parameter_column("unit", "1", "relative change of the density of states stored as 1"),
)

STRATUM = FOLD.name
UNIFORMS = 7
OF_SCATTERER = (1, 2, 6)  # delta, alpha, delta_2
EXAMPLE = {
    "energy_mev": [-100.0, 100.0],
    "e0_mev": -440.0,
    "mass": 0.38,
    "delta_rad": [0.5, 2.5],
    "alpha": [0.0, 1.0],
    "linewidth_mev": [10.0, 30.0],
    "tip_fwhm_nm": 0.4,
    "second_e0_mev": -300.0,
    "second_mass": 0.3,
    "mass_ratio": [1.1, 1.5],
    "unit": 0.1,
}
stratum_label = fold_label


def shortest_period_nm(ranges: Ranges) -> float:
    """The shortest pi/k: at the highest energy, along the heavy axis."""
    return ranges.shortest_period_nm()


def core_radius_nm(ranges: Ranges) -> float:
    """A quarter of the longest pi/k: at the lowest energy, along the light axis."""
    return ranges.longest_period_nm() / 4


def resolution_nm(ranges: Ranges) -> float:
    """A part of the shortest period and of the tip's width, which is the scale of the core."""
    sigma = ranges.tip_fwhm_nm / FWHM_OVER_SIGMA
    in_core = min(sigma / FEWER_PER_SIGMA, core_radius_nm(ranges) / SAMPLES_PER_CORE)
    return min(shortest_period_nm(ranges) / SAMPLES_PER_PERIOD, max(sigma / SAMPLES_PER_SIGMA, in_core))


def reach_nm(ranges: Ranges) -> float:
    """Infinite: the ripples have no end."""
    return math.inf


def strata(ranges: Ranges, start: int, stop: int) -> NDArray[np.int32]:
    """Fold 2 if masses are elliptic, otherwise 0, of the kernels ``start`` to ``stop``."""
    return np.full(stop - start, 2 if ranges.mass_ratio[1] > 1 else 0, np.int32)


def parameters(ranges: Ranges, stratum: NDArray[np.int32], uniform: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """The columns of kernels, (kernel,) each."""
    energy = between(ranges.energy_mev, uniform[:, 0])
    linewidth = between(ranges.linewidth_mev, uniform[:, 3])
    same = np.ones(len(uniform))
    bands = []
    for bottom, mass in ranges.bands():
        above = energy - bottom
        k = electron_wavevector(mass, above)
        bands.append((k, linewidth * k / (2 * above)))
    first, second = bands[0], bands[1] if len(bands) > 1 else (math.nan * same, math.nan * same)
    total = sum(mass for _, mass in ranges.bands())
    return {
        "fold": stratum,
        "energy": energy,
        "k": first[0],
        "damping": first[1],
        "delta": between(ranges.delta_rad, uniform[:, 1]),
        "alpha": between(ranges.alpha, uniform[:, 2]),
        "tip_fwhm": ranges.tip_fwhm_nm * same,
        "mass_ratio": between(ranges.mass_ratio, uniform[:, 4]),
        "axis": np.where(stratum == 0, 0.0, between(ranges.axis_rad, uniform[:, 5])),
        "share_2": (total - ranges.mass) / total * same,
        "k_2": second[0],
        "damping_2": second[1],
        "delta_2": between(ranges.delta_rad, uniform[:, 6]) if len(bands) > 1 else math.nan * same,
        "unit": ranges.unit * same,
    }


def wavevector(parameters: Parameters) -> NDArray[np.float64]:
    """Wavevectors q = 2 k in rad/nm of the first band's ripples; of elliptic ones the geometric mean of both axes."""
    q: NDArray[np.float64] = 2 * parameters["k"]
    return q


def describe(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Symmetry, energy, period and phase shift of a kernel."""
    symmetry = stratum_label(int(parameters["fold"]))
    energy, k, delta, alpha = (float(parameters[name]) for name in ("energy", "k", "delta", "alpha"))
    if math.isnan(energy + k + delta + alpha):
        return (symmetry,)
    scatterer = f"phase shift {delta:.3g} rad" if alpha else "black dot"
    return symmetry, f"energy {energy:.3g} meV", f"period {PI / k:.3g} nm", scatterer, f"alpha {alpha:.2g}"


def reference(
    dx: ArrayLike,
    dy: ArrayLike,
    *,
    alpha: float,
    tip_fwhm: float,
    mass_ratio: float,
    axis: float,
    unit: float,
    **bands: float,
) -> NDArray[np.float64]:
    """Evaluate the kernel at offsets from the scatterer, with SciPy's Bessel functions and quadratures of its own.

    Parameters
    ----------
    dx, dy
        Offsets in nm; they broadcast against each other.
    alpha, tip_fwhm, mass_ratio, axis, unit, **bands
        The columns of a kernel, see the module; the energy and the fold are not needed.

    Returns
    -------
    ndarray
        float64 of the broadcast shape: the change of the density of states in units of ``unit``.
    """
    # In scaled coordinates the band is round, and the tip is an ellipse, narrower along the light axis.
    dx, dy = np.broadcast_arrays(np.asarray(dx, float), np.asarray(dy, float))
    u = (np.cos(axis) * dx + np.sin(axis) * dy) * mass_ratio**-0.25
    v = (np.cos(axis) * dy - np.sin(axis) * dx) * mass_ratio**0.25
    width = float(tip_fwhm) / FWHM_OVER_SIGMA * float(mass_ratio) ** -0.25
    rest = width * np.sqrt(mass_ratio - 1)
    waves = tuple((*map(float, band), float(alpha)) for band in _bands(**bands))
    profile = _profile(waves, width, 2 ** math.ceil(math.log2(np.hypot(u, v).max() + 7 * rest + width)))
    # What is left of the tip is a Gaussian along the heavy axis.
    step = np.linspace(-6.5, 6.5, 33) if rest else np.zeros(1)
    weight = np.exp(-(step**2) / 2) / np.exp(-(step**2) / 2).sum()
    values = sum(part * profile(np.hypot(u, v + rest * at)) for part, at in zip(weight, step, strict=True))
    result: NDArray[np.float64] = values / unit
    return result


@functools.lru_cache(maxsize=64)
def _profile(bands: tuple[tuple[float, ...], ...], width: float, largest: float) -> Any:
    """Mean over a round Gaussian tip as a function of the distance up to ``largest`` nm, by Gauss-Legendre quadrature.

    The nodes r = low + (high - low) t^4 resolve the logarithms at r = 0.
    """
    from scipy.interpolate import make_interp_spline
    from scipy.special import ive

    at = np.linspace(0, largest, 8 + int(largest / min(width / 8, PI / (48 * max(k for k, *_ in bands)))))
    t, weight = np.polynomial.legendre.leggauss(100)
    t = (t[:, None] + 1) / 2
    low, high = np.maximum(at - 8 * width, 0), at + 8 * width
    r = low + (high - low) * t**4
    gaussian = r / width**2 * np.exp(-((r - at) ** 2) / (2 * width**2)) * ive(0, r * at / width**2)
    change = sum(share * point_scatterer(r, k, damping, alpha, delta) for k, damping, delta, share, alpha in bands)
    mean = (weight[:, None] / 2 * change * gaussian * 4 * t**3 * (high - low)).sum(axis=0)
    return make_interp_spline(np.concatenate([-at[:0:-1], at]), np.concatenate([mean[:0:-1], mean]), k=7)


def _bands(
    *, k: float, damping: float, delta: float, share_2: float, k_2: float, damping_2: float, delta_2: float, **_: float
) -> list[tuple[float, float, float, float]]:
    """Wavevector, damping, phase shift and share of the density of states of every band."""
    first = (k, damping, delta, 1 - share_2)
    return [first, (k_2, damping_2, delta_2, share_2)] if share_2 > 0 else [first]


def point_scatterer(
    r: NDArray[np.float64], k: float, damping: float, alpha: float, delta: float
) -> NDArray[np.float64]:
    """Relative change of the density of states at distances r > 0 in nm, seen by a tip without width."""
    from scipy.special import j0, y0

    wave = (j0(k * r) + 1j * y0(k * r)) ** 2
    change: NDArray[np.float64] = 0.5 * np.real((alpha * np.exp(2j * delta) - 1) * wave) * np.exp(-damping * r)
    return change


def samples(
    ranges: Ranges, parameters: Parameters, dx_nm: NDArray[np.float64], dy_nm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The kernels at all pairs of offsets; see :class:`qpibench.families.Tabulated`."""
    images = np.empty((len(parameters["k"]), len(dy_nm), len(dx_nm)))
    for row, image in enumerate(images):
        kernel = {name: float(values[row]) for name, values in parameters.items()}
        standing_waves(
            [
                WaveBand(k=k, damping=damping, delta=delta, alpha=kernel["alpha"], weight=share / kernel["unit"])
                for k, damping, delta, share in _bands(**kernel)
            ],
            width=kernel["tip_fwhm"] / FWHM_OVER_SIGMA,
            mass_ratio=kernel["mass_ratio"],
            axis=kernel["axis"],
            dx_nm=dx_nm,
            dy_nm=dy_nm,
            image=image,
        )
    return images


def scattering(ranges: Ranges, parameters: Parameters, reach_nm: tuple[float, float]) -> ScatteredWaves:
    """The waves around a scatterer; see :class:`qpibench.families.Scattering`."""
    kernel = {name: float(values[0]) for name, values in parameters.items()}
    return scattered_waves(
        [(*band[:3], kernel["alpha"], band[3] / kernel["unit"]) for band in _bands(**kernel)],
        width=kernel["tip_fwhm"] / FWHM_OVER_SIGMA,
        mass_ratio=kernel["mass_ratio"],
        axis=kernel["axis"],
        reach_nm=reach_nm,
    )


def scatter(
    ranges: Ranges,
    parameters: Parameters,
    shared: ScatteredWaves,
    axes: Axes,
    position_nm: NDArray[np.float64],
    amplitude: NDArray[np.float32],
    image: NDArray[np.float64],
) -> None:
    """Fill an image with multiple scattering between point scatterers; see :class:`qpibench.families.Scattering`."""
    superpose_waves(shared, axes, position_nm, amplitude, image)
