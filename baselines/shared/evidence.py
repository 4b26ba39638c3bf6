r"""Bayesian linear models of an image: posterior and evidence.

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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, lapack, solve_triangular

from shared.cholesky import lower_factor
from shared.radial_prior import Separations

Values = NDArray[np.float64]


_JITTER = 1e-9  # of the prior's own variances; keeps covariances of smooth functions positive definite
_LOST = 1e-4  # of the largest eigenvalue of a Gram matrix: what sums of float32 can lose


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
        if "inverse" in vars(self):
            return len(self.factor) - float(np.trace(self.inverse))
        inverse, _ = lapack.dtrtri(self.factor, lower=1)  # half the work, and the squares of it have the same sum
        return len(self.factor) - float((np.tril(inverse) ** 2).sum())


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
    solved = _Solved.of(model, noise)
    amplitude = solve_triangular(solved.factor, solved.half, lower=True, trans="T", check_finite=False)
    return Posterior(
        evidence=solved.evidence,
        mean=np.concatenate([block @ amplitude[i] for block, i in zip(prior.blocks, prior.amplitudes, strict=True)]),
        left=solved.model.misfit(amplitude),
        prior=prior,
        factor=solved.factor,
    )


def evidence_of_amplitudes(model: LinearModel, noise: float) -> float:
    """The evidence of the linear model of amplitudes that are independent and have unit variance."""
    return _Solved.of(model, noise).evidence


class _Solved(NamedTuple):
    """The factor K of a model of amplitudes, K^-1 L^T b / v and the evidence."""

    model: LinearModel
    factor: Values
    half: Values
    evidence: float

    @staticmethod
    def of(model: LinearModel, noise: float) -> _Solved:
        try:
            factor = lower_factor(_precision(model.gram, noise))
        except ValueError:  # a prior of very different variances makes the rounding of the sums greater than 1
            model = replace(model, gram=model.positive)
            factor = lower_factor(_precision(model.gram, noise))
        half = solve_triangular(factor, model.linear / noise, lower=True, check_finite=False)
        evidence = 0.5 * (half @ half - model.energy / noise) - np.log(np.diagonal(factor)).sum()
        return _Solved(model, factor, half, float(evidence - 0.5 * model.pixels * math.log(noise)))


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
