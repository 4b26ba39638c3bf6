"""How far told scatterers are off, by the evidence of an image: :func:`with_spread`.

Places and strengths deviate normally from the told ones, each with one standard deviation for all scatterers, or not at
all. For the linearised image the evidence is that of a Bayesian linear model; its fixed-point equations give the
standard deviations and the noise (MacKay, Neural Computation 4, 415, 1992).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from shared.cholesky import lower_factor
from shared.joint_fit import JointFit

Values = NDArray[np.float64]

ITERATIONS = 4

LEAST_EVIDENCE = 3.0
"""Natural logarithm of the odds by which a spread must be more likely than none."""

EXPLAINED = 3.0
"""Residual, in roundings of the model, below which nothing is left to explain."""

FIRST_STRENGTH = 0.3
"""Standard deviation of strengths from which the iteration starts."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of told places (nm) and strengths, and the logarithm of the evidence."""

    sigma_nm: float
    sigma_strength: float
    evidence: float


@dataclass(frozen=True)
class _Linear:
    """Products of the image's derivatives: kernel first, then (x, y) and strength of the told scatterers."""

    gram: Values
    slope: Values
    energy: float
    pixels: int
    kernel_precision: Values
    least_noise: float
    places: int
    """Number of coordinates."""

    @cached_property
    def _sizes(self) -> tuple[int, int, int]:
        kernel = len(self.kernel_precision)
        return kernel, self.places, len(self.slope) - kernel - self.places

    def spread(self, sigma_nm: float, sigma_strength: float) -> Spread:
        """The most probable spread near a first one; one that is 0 stays."""
        kernel, places, _ = self._sizes
        kept = np.ones(len(self.slope), bool)
        kept[kernel : kernel + places] = sigma_nm > 0
        kept[kernel + places :] = sigma_strength > 0
        gram, slope = self.gram[np.ix_(kept, kept)], self.slope[kept]
        of_place = slice(kernel, kernel + places * (sigma_nm > 0))
        of_strength = slice(of_place.stop, len(slope))
        noise = max(self.energy / self.pixels, self.least_noise)
        evidence = -np.inf
        for _ in range(ITERATIONS if len(slope) > kernel else 3):
            precision = np.zeros(len(slope))
            precision[of_place] = 1 / max(sigma_nm, 1e-150) ** 2
            precision[of_strength] = 1 / max(sigma_strength, 1e-150) ** 2
            matrix = gram / noise
            matrix[:kernel, :kernel] += self.kernel_precision
            matrix[np.diag_indices(len(slope))] += precision
            lower = lower_factor(matrix)
            inverse = lapack.dpotri(lower, lower=1)[0]
            covariance = np.tril(inverse) + np.tril(inverse, -1).T
            mean = covariance @ slope / noise
            squares = max(self.energy - 2 * mean @ slope + mean @ gram @ mean, 0.0)
            prior = mean[:kernel] @ self.kernel_precision @ mean[:kernel] + precision @ mean**2
            volume = 2 * np.log(np.diagonal(lower)).sum() - np.log(precision[kernel:]).sum()
            evidence = -0.5 * (self.pixels * np.log(noise) + squares / noise + prior + volume)
            variance = np.diagonal(covariance)
            determined = (
                len(slope)
                - (precision * variance).sum()
                - np.trace(self.kernel_precision @ covariance[:kernel, :kernel])
            )
            noise = max(squares / max(self.pixels - determined, 1.0), self.least_noise)
            for part in (of_place, of_strength):
                if part.stop > part.start:
                    known = max((1 - precision[part] * variance[part]).sum(), 1e-3)
                    sigma = float(np.sqrt(max((mean[part] ** 2).sum() / known, 1e-24)))
                    if part is of_place:
                        sigma_nm = sigma
                    else:
                        sigma_strength = sigma
        return Spread(sigma_nm, sigma_strength, float(evidence))


def with_spread(fit: JointFit, first_nm: float) -> tuple[JointFit, float]:
    """The fit with the most probable spread of the told scatterers, and the logarithm of its odds against none.

    Places and strengths both get a spread only if one of them has it already: where places are off by a good part of a
    period, the linearised image would explain a part of that by strengths.

    Parameters
    ----------
    fit
        The fit.
    first_nm
        Standard deviation of places from which the iteration starts.
    """
    priors, told = fit.priors, fit.priors.told
    if fit.noise <= EXPLAINED**2 * fit.least_noise or not told.any():
        return fit, 0.0
    linear = _linear(fit)
    none = linear.spread(0.0, 0.0)
    sigma_nm, sigma_strength = float(priors.sigma_nm[told].max()), float(priors.sigma_strength[told].max())
    tried = [linear.spread(sigma_nm or first_nm, 0.0), linear.spread(0.0, sigma_strength or FIRST_STRENGTH)]
    if sigma_nm or sigma_strength:
        tried.append(linear.spread(tried[0].sigma_nm, tried[1].sigma_strength))
    best = max(tried, key=lambda one: one.evidence)
    odds = best.evidence - none.evidence
    if odds < LEAST_EVIDENCE:
        best, odds = none, 0.0
    priors = replace(
        priors,
        sigma_nm=np.where(told[:, None], best.sigma_nm, priors.sigma_nm),
        sigma_strength=np.where(told, best.sigma_strength, priors.sigma_strength),
    )
    return replace(fit, priors=priors), odds


def _linear(fit: JointFit) -> _Linear:
    priors, told = fit.priors, fit.priors.told
    free = replace(
        fit,
        priors=replace(
            priors,
            sigma_nm=np.where(told[:, None], 1.0, priors.sigma_nm),
            sigma_strength=np.where(told, 1.0, priors.sigma_strength),
        ),
    )
    kernel = fit.size
    columns = free.columns[np.concatenate([np.arange(kernel), kernel + free.places_of(told)])]
    moves = np.concatenate([one[told] - mark[told] for one, mark in zip(fit.scatterers, priors.marks, strict=True)])
    # The residual of the linearised image with the scatterers where they are told.
    residual = fit.residual + moves @ columns[kernel:]
    return _Linear(
        gram=(columns @ columns.T).astype(np.float64),
        slope=(columns @ residual.astype(np.float32)).astype(np.float64),
        energy=float(residual @ residual),
        pixels=fit.shown,
        kernel_precision=fit.kernel.prior_precision,
        least_noise=fit.least_noise,
        places=2 * int(told.sum()),
    )
