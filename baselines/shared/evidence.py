r"""Bayesian linear models of an image: posterior, evidence, and the hyper-parameters of greatest evidence.

The model is y = Phi c + noise, with white noise of variance v and c ~ N(0, C). With the Gram matrix G = Phi^T Phi, the
vector b = Phi^T y and C = L L^T,

.. math::

    \log p(y) = \tfrac12 \big( |K^{-1} L^T b / v|^2 - y^T y / v \big) - \log \det K - \tfrac n2 \log v,
    \qquad K K^T = 1 + L^T G L / v,

up to a constant. Nothing of the size of the image is needed but G, b and y^T y, which are computed once.

Source: C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press 2006, chapters 2, 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, lapack, solve_triangular
from scipy.optimize import minimize

from shared.cholesky import lower_factor
from shared.radial_prior import NAMES, RadialPrior, Separations, bounds

Values = NDArray[np.float64]


_JITTER = 1e-9  # of the prior's own variances; keeps covariances of smooth functions positive definite
_LOST = 1e-4  # of the largest eigenvalue of a Gram matrix: what sums of float32 can lose
_STEP = 1e-4  # of finite differences by hyper-parameters
_WIDEST = 1.0  # standard deviation of a hyper-parameter that the image does not determine
_FIRST_STEP = 3.0  # length of the first change of the hyper-parameters, at most
_REJECTED = 1e12  # cost of hyper-parameters whose matrices are not positive definite


@dataclass(frozen=True)
class LinearModel:
    """Sums of a linear model of an image.

    Attributes
    ----------
    gram
        (column, column): G.
    linear
        (column,): b.
    energy
        y^T y.
    pixels
        Number of pixels n.
    rounding
        Variance of a pixel, over the image's mean square, below which the sums cannot tell a residual from 0.
    """

    gram: Values
    linear: Values
    energy: float
    pixels: int
    rounding: float = 1e-12

    @property
    def least_noise(self) -> float:
        """Least variance of the noise that the sums can tell from 0."""
        return max(self.rounding * self.energy / self.pixels, float(np.finfo(np.float64).tiny))

    @cached_property
    def positive(self) -> Values:
        """G without the negative eigenvalues that rounding has left.

        Raises
        ------
        ValueError
            If they are more negative than rounding can be.
        """
        powers, axes = np.linalg.eigh(self.gram)
        if powers[0] < -_LOST * powers[-1]:
            raise ValueError("the sums of an image are no sums of squares, so no kernel can be estimated from it")
        whole: Values = (axes * np.maximum(powers, 0)) @ axes.T
        return whole

    def misfit(self, coefficient: Values) -> float:
        """Squared distance of the image from a model with coefficients (column,)."""
        return max(float(self.energy - 2 * self.linear @ coefficient + coefficient @ self.gram @ coefficient), 0.0)


@dataclass(frozen=True)
class Layout:
    """Which columns of a linear model belong to one radial function, and how far its prior reaches.

    Attributes
    ----------
    r_nm
        (spline,): places of the splines of a radial function.
    splines
        One array for every radial function: the splines that the model has of it; columns follow each other in this
        order.
    tapers
        One array for every radial function: factor of the prior's standard deviation at each of these splines.
    """

    r_nm: Values
    splines: tuple[NDArray[np.intp], ...]
    tapers: tuple[Values, ...]

    @cached_property
    def separations(self) -> Separations:
        """The distances of the splines from each other."""
        return Separations.of(self.r_nm)

    @staticmethod
    def whole(r_nm: Values, functions: int) -> Layout:
        """Several radial functions with all splines and the same prior."""
        every = np.arange(len(r_nm))
        return Layout(r_nm, (every,) * functions, (np.ones(len(r_nm)),) * functions)

    def factors(self, radial: Values) -> Factors:
        """Lower Cholesky factors of the blocks of C, for the covariance (spline, spline) of a radial function."""
        jitter = radial + np.diag(_JITTER * np.diagonal(radial) + np.finfo(np.float64).tiny)
        blocks = []
        for i, w in zip(self.splines, self.tapers, strict=True):
            lower = cholesky(jitter[np.ix_(i, i)], lower=True, check_finite=False)
            blocks.append(w[:, None] * lower)
        return Factors(tuple(blocks))

    def gathered(self, blocks: Sequence[Values]) -> Values:
        """The sum (spline, spline) of one matrix for every radial function, with its tapers."""
        total = np.zeros((len(self.r_nm), len(self.r_nm)))
        for i, w, block in zip(self.splines, self.tapers, blocks, strict=True):
            total[np.ix_(i, i)] += block * np.outer(w, w)
        return total


@dataclass(frozen=True)
class Factors:
    """The block-diagonal factor L of a prior covariance C = L L^T.

    Its columns are functions whose amplitudes are independent and have unit variance. It is square and lower
    triangular, or has fewer columns than rows if functions are left out.
    """

    blocks: tuple[Values, ...]

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Coefficients of every block."""
        return _consecutive([len(block) for block in self.blocks])

    @cached_property
    def amplitudes(self) -> tuple[slice, ...]:
        """Amplitudes of every block."""
        return _consecutive([block.shape[1] for block in self.blocks])

    def whitening(self, model: LinearModel) -> LinearModel:
        """The linear model of the amplitudes, for that of the coefficients."""
        return replace(model, gram=self.whitened(model.gram), linear=self.applied(model.linear))

    def seen(self, shown: Values, *, least: float) -> Factors:
        """The factors without the functions of which an image says nothing.

        Parameters
        ----------
        shown
            (column,): expected squares of the columns, over the variance of the noise.
        least
            Least variance of a function in this metric.
        """
        blocks = []
        for lower, rows in zip(self.blocks, self.slices, strict=True):
            variance, turn = np.linalg.eigh((lower.T * shown[rows]) @ lower)
            blocks.append(lower @ turn[:, variance > least])
        return Factors(tuple(blocks))

    def applied(self, matrix: Values) -> Values:
        """L^T times a matrix or vector."""
        return np.concatenate([lower.T @ matrix[rows] for lower, rows in zip(self.blocks, self.slices, strict=True)])

    def whitened(self, gram: Values) -> Values:
        """L^T G L."""
        half = self.applied(gram)
        return np.concatenate([half[:, rows] @ low for low, rows in zip(self.blocks, self.slices, strict=True)], axis=1)


@dataclass(frozen=True)
class Posterior:
    """What an image says about the coefficients of its linear model.

    Attributes
    ----------
    evidence
        log p(y), up to a constant that is the same for all models of an image.
    mean
        (column,).
    left
        Squared distance of the image from the mean's.
    prior
        L.
    factor
        (amplitude, amplitude): K.
    """

    evidence: float
    mean: Values
    left: float
    prior: Factors
    factor: Values

    @cached_property
    def root(self) -> Values:
        """(amplitude, column): the covariance of the coefficients is ``root.T @ root``."""
        parts = zip(self.prior.blocks, self.prior.amplitudes, strict=True)
        placed = [_placed(block.T, rows, len(self.factor)) for block, rows in parts]
        whole = np.concatenate(placed, axis=1)
        root: Values = solve_triangular(self.factor, whole, lower=True, check_finite=False)
        return root

    @property
    def covariance(self) -> Values:
        """(column, column)."""
        return self.root.T @ self.root

    @cached_property
    def inverse(self) -> Values:
        """(amplitude, amplitude): covariance of the amplitudes, (K K^T)^-1."""
        inverse, _ = lapack.dpotri(self.factor, lower=1)
        whole: Values = np.tril(inverse) + np.tril(inverse, -1).T
        return whole

    @property
    def determined(self) -> float:
        """Number of amplitudes that the image determines."""
        return len(self.factor) - float(np.trace(self.inverse))


def posterior(model: LinearModel, prior: Factors, noise: float) -> Posterior:
    """Return the posterior of the coefficients for a prior and a variance of the noise.

    Raises
    ------
    ValueError
        If the sums are not positive definite by more than rounding.
    """
    return posterior_of_amplitudes(prior.whitening(model), prior, noise)


def posterior_of_amplitudes(model: LinearModel, prior: Factors, noise: float) -> Posterior:
    """As :func:`posterior`, for the linear model of the prior's amplitudes."""
    try:
        factor = lower_factor(_precision(model.gram, noise))
    except ValueError:  # a prior of very different variances makes the rounding of the sums greater than 1
        model = replace(model, gram=model.positive)
        factor = lower_factor(_precision(model.gram, noise))
    half = solve_triangular(factor, model.linear / noise, lower=True, check_finite=False)
    evidence = 0.5 * (half @ half - model.energy / noise) - np.log(np.diagonal(factor)).sum()
    amplitude = solve_triangular(factor, half, lower=True, trans="T", check_finite=False)
    return Posterior(
        evidence=float(evidence - 0.5 * model.pixels * math.log(noise)),
        mean=np.concatenate([block @ amplitude[i] for block, i in zip(prior.blocks, prior.amplitudes, strict=True)]),
        left=model.misfit(amplitude),
        prior=prior,
        factor=factor,
    )


def _precision(gram: Values, noise: float) -> Values:
    """1 + L^T G L / v."""
    precision = gram / noise
    precision[np.diag_indices(len(precision))] += 1
    return precision


def _consecutive(sizes: Sequence[int]) -> tuple[slice, ...]:
    """Slices of sizes that follow each other."""
    return tuple(slice(int(a), int(b)) for a, b in pairwise(np.cumsum([0, *sizes])))


def _placed(block: Values, rows: slice, size: int) -> Values:
    """A block among rows of zeros."""
    placed = np.zeros((size, block.shape[1]))
    placed[rows] = block
    return placed


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
