"""Separable kernels: one radial function times one angular pattern, by the evidence of the radial function.

The kernel is f(r) (w_0 + w_1 cos n theta + w_2 sin n theta). For a fixed pattern w the image is linear in f, the prior
of which is a Gaussian process. The pattern follows by expectation maximisation: for the posterior of f, the expected
squared residual is quadratic in w. Rounds of both climb the evidence.

Source of expectation maximisation: A. P. Dempster, N. M. Laird, D. B. Rubin, J. R. Stat. Soc. B 39, 1 (1977).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, null_space

from shared.evidence import Layout, LinearModel
from shared.hyperparameters import Fit, Hyperparameters, expected_noise, fit, maximise, spread_by_hyperparameters

Values = NDArray[np.float64]

ROUNDS = 3
PATTERN_STEPS = 5
LATER_STEPS = 5
SETTLED = 1e-5
"""Change of the pattern, of unit length, below which it has settled."""


@dataclass(frozen=True)
class Separable:
    """A separable kernel held against an image.

    Attributes
    ----------
    blocks
        The linear model with the columns of every harmonic, harmonic after harmonic.
    pattern
        (harmonic,) w, of unit length.
    fit
        The radial function for this pattern.
    r_nm
        (spline,) places of the splines.
    """

    r_nm: Values
    blocks: LinearModel
    pattern: Values
    fit: Fit

    def again(self, blocks: LinearModel, r_nm: Values) -> Separable:
        """The same pattern and hyper-parameters for other sums."""
        model = _Blocks(blocks, len(r_nm)).of_pattern(self.pattern)
        return Separable(r_nm, blocks, self.pattern, fit(model, Layout.whole(r_nm, 1), self.fit.hyperparameters))

    @property
    def evidence(self) -> float:
        """Log p(y) for this pattern, up to a constant."""
        return self.fit.evidence

    @property
    def coefficient(self) -> Values:
        """(column,): coefficients of the kernel in harmonics times splines."""
        return np.outer(self.pattern, self.fit.posterior.mean).ravel()

    @property
    def root(self) -> Values:
        """Root of the covariance of these coefficients, in which the pattern is uncertain too."""
        profile, noise = self.fit.posterior, self.fit.hyperparameters.noise
        across = null_space(self.pattern[None])  # changes of the pattern that keep its length
        by_profile = np.kron(self.pattern[:, None], np.eye(len(profile.mean)))
        by_pattern = np.kron(across, profile.mean[:, None])
        crossed = by_profile.T @ self.blocks.gram @ by_pattern / noise
        own = by_pattern.T @ self.blocks.gram @ by_pattern / noise
        # Block elimination: the pattern's covariance, then that of the profile for a given pattern.
        response = profile.root.T @ (profile.root @ crossed)
        tiny = np.finfo(np.float64).tiny
        of_pattern = np.linalg.inv(own - crossed.T @ response + np.diag(np.diagonal(own) * 1e-9 + tiny))
        along = by_pattern - by_profile @ response
        lower = np.linalg.cholesky(of_pattern + np.eye(len(of_pattern)) * tiny)
        layout = Layout.whole(self.r_nm, 1)
        of_hyperparameters = spread_by_hyperparameters(
            _Blocks(self.blocks, len(self.r_nm)).of_pattern(self.pattern), layout, self.fit
        )
        return np.concatenate([profile.root @ by_profile.T, (along @ lower).T, of_hyperparameters @ by_profile.T])


def separable(
    model: LinearModel, r_nm: Values, start: Hyperparameters, coefficient: Values, *, steps: int
) -> Separable:
    """Find the pattern and the radial function.

    Parameters
    ----------
    model
        Linear model with the columns of every harmonic, each with all splines.
    r_nm
        (spline,) places of the splines.
    start
        Hyper-parameters to start from.
    coefficient
        (harmonic, spline): a first kernel, which need not be separable.
    steps
        Steps of the hyper-parameters before the pattern changes.
    """
    layout = Layout.whole(r_nm, 1)
    blocks = _Blocks(model, len(r_nm))
    pattern = blocks.leading_pattern(coefficient)
    found = maximise(blocks.of_pattern(pattern), layout, start, steps=steps)
    for _ in range(ROUNDS if len(pattern) > 1 else 0):
        former = pattern
        for _ in range(PATTERN_STEPS):
            found = fit(blocks.of_pattern(pattern), layout, found.hyperparameters)
            pattern, last = blocks.best_pattern(found, pattern), pattern
            if np.abs(pattern - last).max() < SETTLED:
                break
        found = maximise(blocks.of_pattern(pattern), layout, found.hyperparameters, steps=LATER_STEPS)
        if np.abs(pattern - former).max() < 100 * SETTLED:
            break
    return Separable(r_nm, model, pattern, found)


def held(model: LinearModel, r_nm: Values, at: Hyperparameters, coefficient: Values) -> Separable:
    """The pattern and the prior of another kernel held against an image, with the noise that is left.

    Parameters are those of :func:`separable`.
    """
    layout, blocks = Layout.whole(r_nm, 1), _Blocks(model, len(r_nm))
    pattern = blocks.leading_pattern(coefficient)
    radial = blocks.of_pattern(pattern)
    noise = expected_noise(radial, fit(radial, layout, at).posterior, at.noise)
    return Separable(r_nm, model, pattern, fit(radial, layout, replace(at, log_noise=math.log(noise))))


class _Blocks:
    """The linear model by harmonics: gram (harmonic, harmonic, spline, spline), linear (harmonic, spline)."""

    def __init__(self, model: LinearModel, splines: int) -> None:
        harmonics = len(model.linear) // splines
        self.model = model
        self.gram = model.gram.reshape(harmonics, splines, harmonics, splines).transpose(0, 2, 1, 3)
        self.linear = model.linear.reshape(harmonics, splines)

    def of_pattern(self, pattern: Values) -> LinearModel:
        """The linear model of the radial function."""
        gram = np.tensordot(np.outer(pattern, pattern), self.gram)
        return replace(self.model, gram=gram, linear=pattern @ self.linear)

    def leading_pattern(self, coefficient: Values) -> Values:
        """The pattern of the separable kernel next to another one, in the metric of the image."""
        if len(coefficient) == 1:
            return np.ones(1)
        products = np.array([[a @ self.gram[0, 0] @ b for b in coefficient] for a in coefficient])
        pattern: Values = np.linalg.eigh(products)[1][:, -1]
        return pattern if pattern[0] >= 0 else -pattern

    def best_pattern(self, found: Fit, former: Values) -> Values:
        """The pattern of least expected squared residual; the former one where rounding hides that."""
        posterior = found.posterior
        moment = posterior.covariance + np.outer(posterior.mean, posterior.mean)
        products = np.tensordot(self.gram, moment)
        try:
            factor = cho_factor(products + np.diag(np.diagonal(products) * 1e-12))
        except LinAlgError:  # what nuisance leaves of a harmonic can be less than rounding
            return former
        pattern: Values = cho_solve(factor, self.linear @ posterior.mean)
        return pattern / max(float(np.linalg.norm(pattern)), np.finfo(np.float64).tiny)
