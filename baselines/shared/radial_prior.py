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
        parts = self._parts(r_nm)
        return parts.ripples + parts.background

    def covariance_and_gradients(self, r_nm: Values) -> tuple[Values, Mapping[str, Values]]:
        """C and its derivative by every hyper-parameter, (distance, distance) each."""
        parts = self._parts(r_nm)
        covariance = parts.ripples + parts.background
        relative = r_nm / math.exp(self.log_decay)
        tail = relative**self.power
        core = 1 + (r_nm / math.exp(self.log_core)) ** 2
        of_envelope = {
            "log_decay": self.power * tail,
            "power": -tail * np.log(np.maximum(relative, np.finfo(np.float64).tiny)),
            "log_core": self.core_power * (core - 1) / core,
            "core_power": -0.5 * np.log(core),
        }
        gradients = {
            "log_scale": 2 * covariance,
            "log_wavenumber": -0.5 * parts.smooth * np.sin(parts.phase) * parts.phase,
            "log_coherence": parts.ripples * (parts.apart / math.exp(self.log_coherence)) ** 2,
            "log_background": 2 * parts.background,
            "log_roughness": parts.background * (parts.apart / math.exp(self.log_roughness)) ** 2,
        }
        gradients |= {name: covariance * (one[:, None] + one) for name, one in of_envelope.items()}
        return covariance, gradients

    def _parts(self, r_nm: Values) -> _Parts:
        apart = r_nm[:, None] - r_nm
        envelope = math.exp(self.log_scale) * self.envelope(r_nm)
        scale = np.outer(envelope, envelope)
        phase = math.exp(self.log_wavenumber) * apart
        smooth = scale * np.exp(-0.5 * (apart / math.exp(self.log_coherence)) ** 2)
        rough = scale * np.exp(-0.5 * (apart / math.exp(self.log_roughness)) ** 2)
        return _Parts(
            apart=apart,
            phase=phase,
            smooth=smooth,
            ripples=smooth * (0.5 + 0.5 * np.cos(phase)),
            background=math.exp(2 * self.log_background) * rough,
        )


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """r - r', q (r - r'), the ripples without and with their waves, and the background; (distance, distance) each."""

    apart: Values
    phase: Values
    smooth: Values
    ripples: Values
    background: Values


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
