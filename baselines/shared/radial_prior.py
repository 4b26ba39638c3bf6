r"""Gaussian process for the radial functions of a kernel: ripples of one wavenumber under a decaying envelope.

The covariance of a radial function at the distances r and r' is

.. math::

    C(r, r') = \tau^2 e(r) e(r') \Big[ S_\ell(r - r') \frac{1 + \cos q (r - r')}{2} + \epsilon^2 S_s(r - r') \Big],
    \qquad
    e(r) = \frac{e^{-(r / d)^p}}{(1 + r^2 / r_0^2)^{\alpha / 2}}, \quad S_\ell(x) = e^{-x^2 / 2 \ell^2} .

The first term is a smooth part and ripples of the wavenumber q, which stay in step over the distance l. The second one
is a background with the shorter length s, for what is neither. The envelope covers Gaussian decay (p = 2), exponential
decay (p = 1), and the powers of r of waves in two dimensions. All of them are hyper-parameters of a single image.

Sources: C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press 2006, chapters 2, 4
and 5; A. G. Wilson and R. P. Adams, ICML 2013, arXiv:1302.4245 (covariances that are mixtures of spectral lines).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RadialPrior:
    """Hyper-parameters of the covariance; those of length or scale are logarithms (of nm).

    Attributes
    ----------
    log_scale
        Of tau, in units of the image.
    log_decay, power
        Of d, and p.
    log_core, core_power
        Of r_0, and alpha.
    log_wavenumber
        Of q in rad/nm.
    log_coherence
        Of l.
    log_background, log_roughness
        Of epsilon, which has no unit, and of s.
    """

    log_scale: float
    log_decay: float
    power: float
    log_core: float
    core_power: float
    log_wavenumber: float
    log_coherence: float
    log_background: float
    log_roughness: float

    @property
    def vector(self) -> Values:
        """The hyper-parameters in the order of the fields."""
        return np.array([getattr(self, name) for name in NAMES])

    def with_vector(self, values: Values) -> RadialPrior:
        """The prior with other hyper-parameters, in the order of the fields."""
        return replace(self, **{name: float(value) for name, value in zip(NAMES, values, strict=True)})

    def envelope(self, r_nm: Values) -> Values:
        """e(r), (distance,)."""
        tail = (r_nm / math.exp(self.log_decay)) ** self.power
        core = 1 + (r_nm / math.exp(self.log_core)) ** 2
        envelope: Values = np.exp(-tail) * core ** (-self.core_power / 2)
        return envelope

    def covariance(self, r_nm: Values) -> Values:
        """C, (distance, distance)."""
        return self.at(Separations.of(r_nm)).covariance

    def at(self, separations: Separations) -> Covariance:
        """C and what its derivatives need."""
        apart, place = separations.apart, separations.place
        envelope = math.exp(self.log_scale) * self.envelope(separations.r_nm)
        scale = np.outer(envelope, envelope)
        phase = math.exp(self.log_wavenumber) * apart
        smooth = np.exp(-0.5 * (apart / math.exp(self.log_coherence)) ** 2)
        rough = np.exp(2 * self.log_background - 0.5 * (apart / math.exp(self.log_roughness)) ** 2)
        ripples = smooth * (0.5 + 0.5 * np.cos(phase))
        return Covariance(
            prior=self,
            separations=separations,
            covariance=scale * (ripples + rough)[place],
            scale=scale,
            of_wavenumber=-0.5 * smooth * np.sin(phase) * phase,
            ripples=ripples,
            rough=rough,
        )


@dataclass(frozen=True)
class Separations:
    """Distances r from the scatterer, and how far they are from each other.

    The covariance is computed once for every separation that occurs: those of evenly spaced distances are few.

    Attributes
    ----------
    r_nm
        (distance,).
    apart
        (separation,): the separations |r - r'| that occur.
    place
        (distance, distance): number of the separation of every pair.
    """

    r_nm: Values
    apart: Values
    place: NDArray[np.intp]

    @staticmethod
    def of(r_nm: Values) -> Separations:
        """The separations of distances (distance,); those that differ by rounding only are one."""
        apart = np.abs(r_nm[:, None] - r_nm)
        rounded = np.round(apart / max(float(apart.max()), np.finfo(np.float64).tiny), 12)
        _, first, place = np.unique(rounded, return_index=True, return_inverse=True)
        return Separations(r_nm, apart.ravel()[first], place.reshape(apart.shape))


@dataclass(frozen=True, kw_only=True)
class Covariance:
    """The covariance of a prior at some distances.

    Attributes
    ----------
    prior, separations
        The prior and the distances.
    covariance
        C, (distance, distance).
    scale
        tau^2 e(r) e(r'), (distance, distance).
    ripples, rough
        The two terms of the bracket, (separation,).
    of_wavenumber
        Derivative of the bracket by the logarithm of q, (separation,).
    """

    prior: RadialPrior
    separations: Separations
    covariance: Values
    scale: Values
    ripples: Values
    rough: Values
    of_wavenumber: Values

    def gradients(self, by_covariance: Values) -> Mapping[str, float]:
        """Derivative by every hyper-parameter of a function of C.

        Parameters
        ----------
        by_covariance
            Its derivative by C, symmetric (distance, distance).
        """
        prior, apart = self.prior, self.separations.apart
        weighted = by_covariance * self.scale
        of_bracket = np.bincount(self.separations.place.ravel(), weighted.ravel(), len(apart))
        of_envelope = 2 * (by_covariance * self.covariance).sum(axis=1)  # by the logarithm of e(r)
        relative = self.separations.r_nm / math.exp(prior.log_decay)
        tail = relative**prior.power
        core = 1 + (self.separations.r_nm / math.exp(prior.log_core)) ** 2
        changes = {
            "log_decay": prior.power * tail,
            "power": -tail * np.log(np.maximum(relative, np.finfo(np.float64).tiny)),
            "log_core": prior.core_power * (core - 1) / core,
            "core_power": -0.5 * np.log(core),
            "log_scale": np.ones(len(tail)),
        }
        brackets = {
            "log_wavenumber": self.of_wavenumber,
            "log_coherence": self.ripples * (apart / math.exp(prior.log_coherence)) ** 2,
            "log_background": 2 * self.rough,
            "log_roughness": self.rough * (apart / math.exp(prior.log_roughness)) ** 2,
        }
        return {name: float(of_envelope @ change) for name, change in changes.items()} | {
            name: float(of_bracket @ bracket) for name, bracket in brackets.items()
        }


NAMES = tuple(field.name for field in fields(RadialPrior))


def bounds(reach_nm: float, spacing_nm: float) -> Mapping[str, tuple[float, float]]:
    """Limits of the hyper-parameters for splines of a spacing that cover the distances from 0 to a reach."""
    log = math.log
    return {
        "log_scale": (-9.0, 9.0),  # of an image whose pixels have a root mean square of 1
        "log_decay": (log(2 * spacing_nm), log(2 * reach_nm)),
        "power": (0.8, 2.2),
        "log_core": (log(spacing_nm), log(reach_nm)),
        "core_power": (0.0, 4.0),
        "log_wavenumber": (log(4 / reach_nm), log(2 / spacing_nm)),
        "log_coherence": (log(spacing_nm), log(20 * reach_nm)),
        "log_background": (log(1e-3), log(10.0)),
        "log_roughness": (log(0.8 * spacing_nm), log(max(reach_nm / 8, 1.6 * spacing_nm))),
    }
