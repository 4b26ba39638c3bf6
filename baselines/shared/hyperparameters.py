"""The hyper-parameters of a Bayesian linear model: those of greatest evidence, and what their uncertainty adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, solve_triangular
from scipy.optimize import minimize

from shared.evidence import Layout, LinearModel, Posterior, posterior
from shared.radial_prior import NAMES, RadialPrior, bounds

Values = NDArray[np.float64]

_STEP = 1e-4  # of finite differences by hyper-parameters
_WIDEST = 1.0  # standard deviation of a hyper-parameter that the image does not determine
_FIRST_STEP = 3.0  # length of the first change of the hyper-parameters, at most
_REJECTED = 1e12  # cost of hyper-parameters whose matrices are not positive definite


@dataclass(frozen=True)
class Hyperparameters:
    """The prior of the radial functions and the variance of the noise."""

    prior: RadialPrior
    log_noise: float

    @property
    def noise(self) -> float:
        """Variance of the noise."""
        return math.exp(self.log_noise)


@dataclass(frozen=True)
class Fit:
    """Hyper-parameters and the posterior for them."""

    hyperparameters: Hyperparameters
    posterior: Posterior

    @property
    def evidence(self) -> float:
        """Log p(y), up to a constant."""
        return self.posterior.evidence


def fit(model: LinearModel, layout: Layout, at: Hyperparameters) -> Fit:
    """Return the posterior for given hyper-parameters."""
    return Fit(at, posterior(model, layout.factors(at.prior.at(layout.separations).covariance), at.noise))


def maximise(
    model: LinearModel,
    layout: Layout,
    start: Hyperparameters,
    *,
    steps: int,
    free: Sequence[str] = (*NAMES, "log_noise"),
) -> Fit:
    """Climb to hyper-parameters of greater evidence, by L-BFGS with analytic gradients.

    Parameters
    ----------
    model, layout
        The linear model of an image whose pixels have a mean square near 1.
    start
        Where to start; moved into the bounds.
    steps
        Largest number of iterations.
    free
        Names of the hyper-parameters that change.
    """
    limits = dict(bounds(layout.r_nm[-1], layout.r_nm[2] - layout.r_nm[1]))
    level = math.log(max(model.energy / model.pixels, np.finfo(np.float64).tiny))
    limits["log_noise"] = (level + math.log(model.rounding), level + math.log(2.0))
    names = (*NAMES, "log_noise")
    whole = np.clip([*start.prior.vector, start.log_noise], *np.array([limits[name] for name in names]).T)
    moving = [names.index(name) for name in free]

    def at(values: Values) -> Hyperparameters:
        full = whole.copy()
        full[moving] = values
        return Hyperparameters(start.prior.with_vector(full[:-1]), float(full[-1]))

    scale: list[float] = []

    def cost(values: Values) -> tuple[float, Values]:
        here = at(values)
        try:
            evidence, gradients = evidence_and_gradients(model, layout, here)
        except (LinAlgError, ValueError):
            return _REJECTED, np.zeros(len(values))
        slope = np.array([gradients[name] for name in free])
        if not scale:  # the first step of L-BFGS within bounds is the gradient, which can be so long that it meets them
            scale.append(max(1.0, float(np.linalg.norm(slope)) / _FIRST_STEP))
        return -evidence / scale[0], -slope / scale[0]

    found = minimize(
        cost,
        whole[moving],
        jac=True,
        method="L-BFGS-B",
        bounds=[limits[name] for name in free],
        options={"maxiter": steps, "maxls": 12, "ftol": 1e-9},
    )
    return fit(model, layout, at(found.x))


def expected_noise(model: LinearModel, found: Posterior, noise: float) -> float:
    """Variance of the noise after one step of expectation maximisation: the expected mean square of the residual."""
    return max((found.left + noise * found.determined) / model.pixels, model.least_noise)


def spread_by_hyperparameters(model: LinearModel, layout: Layout, found: Fit) -> Values:
    """What the uncertainty of the hyper-parameters adds to that of the coefficients.

    To first order the mean moves by its derivatives by the hyper-parameters, whose covariance is the inverse of the
    negative second derivatives of the evidence (Laplace's approximation) and of a wide prior.

    Returns
    -------
    ndarray
        (row, column): the additional covariance is ``rows.T @ rows``.
    """
    here = found.hyperparameters
    vector, names = np.array([*here.prior.vector, here.log_noise]), (*NAMES, "log_noise")
    _, at_rest = _posterior_and_gradients(model, layout, here)
    slopes, moves = np.zeros((len(names), len(names))), []
    for k in range(len(names)):
        moved = vector.copy()
        moved[k] += _STEP
        there = Hyperparameters(here.prior.with_vector(moved[:-1]), float(moved[-1]))
        moved_posterior, gradients = _posterior_and_gradients(model, layout, there)
        slopes[k] = [(gradients[name] - at_rest[name]) / _STEP for name in names]
        moves.append((moved_posterior.mean - found.posterior.mean) / _STEP)
    curvature, axes = np.linalg.eigh(-0.5 * (slopes + slopes.T))
    widths = 1 / np.sqrt(np.maximum(curvature, 0) + _WIDEST**-2)
    rows: Values = (axes * widths).T @ np.array(moves)
    return rows


def evidence_and_gradients(model: LinearModel, layout: Layout, at: Hyperparameters) -> tuple[float, dict[str, float]]:
    """Return the evidence and its derivative by every hyper-parameter, by name."""
    found, gradients = _posterior_and_gradients(model, layout, at)
    return found.evidence, gradients


def _posterior_and_gradients(
    model: LinearModel, layout: Layout, at: Hyperparameters
) -> tuple[Posterior, dict[str, float]]:
    radial = at.prior.at(layout.separations)
    prior = layout.factors(radial.covariance)
    found = posterior(model, prior, at.noise)
    # With M = L^T G L / v the derivative by C is the block-diagonal part of L^-T (1 - (1 + M)^-1) L^-1 / 2, but for
    # the pull of the residual, which is L^-T times the whitened mean.
    blocks = []
    for lower, rows in zip(prior.blocks, prior.slices, strict=True):
        pull = (model.linear[rows] - model.gram[rows] @ found.mean) / at.noise
        known = np.eye(len(lower)) - found.inverse[rows, rows]
        left = solve_triangular(lower, known, lower=True, trans="T", check_finite=False)
        known = solve_triangular(lower, left.T, lower=True, trans="T", check_finite=False)
        blocks.append(0.5 * (np.outer(pull, pull) - known))
    by_covariance = layout.gathered(blocks)
    gradients = dict(radial.gradients(by_covariance))
    gradients["log_noise"] = 0.5 * (found.left / at.noise - model.pixels + found.determined)
    return found, gradients
