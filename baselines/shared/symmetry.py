"""Symmetry, noise and linear estimate of a kernel from its image, by the evidence of a Bayesian linear model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular

from shared.cholesky import lower_factor
from shared.polar import QuadraticForm, Symmetry

PHASES = 16
"""Phases tried for each fold; the descent that follows needs a start within an eighth of a turn."""

LEAST_NOISE = 1e-3
"""Smallest standard deviation of the noise, over the root mean square of the image, that float32 sums can tell."""


@dataclass(frozen=True)
class LinearEstimate:
    """The most probable symmetry of a kernel, and its profile for that symmetry.

    Attributes
    ----------
    symmetry
        Fold, and the best of the phases that were tried.
    coefficient
        (function,): posterior mean of the profile's coefficients; the first is 1.
    noise
        Estimated variance of the noise.
    evidence
        Logarithm of the probability of the image given the symmetry, up to a constant.
    """

    symmetry: Symmetry
    coefficient: NDArray[np.float64]
    noise: float
    evidence: float


def estimate_linearly(form: QuadraticForm, spread: NDArray[np.float64]) -> LinearEstimate:
    """Choose among total symmetry and the folds of a quadratic form.

    The coefficients are independent and normal with mean 0, the first excepted. The noise is what a model with all
    harmonics leaves unexplained.

    Parameters
    ----------
    form
        The image.
    spread
        (function - 1,): standard deviations of the coefficients.
    """
    noise = estimate_noise(form)
    # No angular factor is greater than 1, the only one of total symmetry.
    largest = float(np.diagonal(form.gram[0, 0]).max()) / noise
    best: LinearEstimate | None = None
    for fold in (0, *form.folds):
        phases = 2 * np.pi * np.arange(PHASES if fold else 1) / PHASES
        symmetries = [Symmetry(fold, float(phase)) for phase in phases]
        gram, linear = form.of_fold(fold).of_profile(np.array([symmetry.weights for symmetry in symmetries]))
        precision = np.diag(1 / spread**2)
        lower = np.array([lower_factor(one, largest=largest) for one in gram[:, 1:, 1:] / noise + precision])
        wanted = (linear[:, 1:] - gram[:, 1:, 0]) / noise
        half = np.array(
            [solve_triangular(*pair, lower=True, check_finite=False) for pair in zip(lower, wanted, strict=True)]
        )
        left = (form.energy - 2 * linear[:, 0] + gram[:, 0, 0]) / noise
        volume = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        evidence = 0.5 * ((half**2).sum(axis=1) - left) - volume
        k = int(np.argmax(evidence))
        if best is None or evidence[k] > best.evidence:
            solution = solve_triangular(lower[k], half[k], trans="T", lower=True)
            best = LinearEstimate(symmetries[k], np.concatenate([[1.0], solution]), noise, float(evidence[k]))
    assert best is not None
    return best


def estimate_noise(form: QuadraticForm) -> float:
    """Variance of what no combination of the harmonics and radial functions explains."""
    columns = form.linear.size
    gram = form.gram.transpose(0, 2, 1, 3).reshape(columns, columns)
    ridge = 1e-5 * max(float(np.trace(gram)) / columns, np.finfo(np.float64).tiny)
    factor = lower_factor(gram + ridge * np.eye(columns))
    solution = cho_solve((factor, True), form.linear.ravel())
    explained = float(form.linear.ravel() @ solution)
    left = max(form.energy - explained, 0.0) / max(form.pixels - columns, form.pixels / 2)
    return max(left, LEAST_NOISE**2 * form.brightness, float(np.finfo(np.float32).tiny))
