"""The most probable kernel for an image whose scatterers are known exactly, from the image's quadratic form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shared.descent import descend, misfit
from shared.polar import QuadraticForm, Symmetry
from shared.profiles import ProfileModel

MODEL_ROUNDING = 1e-5
"""Rounding of the model in float32, over the root mean square of the image."""


@dataclass(frozen=True)
class Kernel:
    """A separable kernel: the shape of its profile, and its symmetry."""

    shape: NDArray[np.float64]
    symmetry: Symmetry

    def with_shape(self, shape: NDArray[np.float64]) -> Kernel:
        """The kernel with another profile."""
        return Kernel(shape, self.symmetry)

    def moved(self, step: NDArray[np.float64]) -> Kernel:
        """The kernel after a step of the shape and the phase, (shape + 1,)."""
        return Kernel(self.shape + step[:-1], Symmetry(self.symmetry.fold, self.symmetry.phase + float(step[-1])))


@dataclass(frozen=True)
class Fit(ABC):
    """A kernel held against an image."""

    model: ProfileModel
    kernel: Kernel

    @cached_property
    def coefficient(self) -> NDArray[np.float64]:
        """Coefficients (function,) of the profile."""
        return self.model.coefficient(self.kernel.shape)

    @cached_property
    @abstractmethod
    def misfit(self) -> tuple[float, float]:
        """See :func:`shared.descent.misfit`."""

    @property
    def noise(self) -> float:
        """Variance of the noise that explains the residual best."""
        return self.misfit[0]

    @cached_property
    def cost_of_kernel(self) -> float:
        """Negative logarithm of the likelihood and of the prior density of the shape, up to a constant."""
        off = self.kernel.shape - self.model.mean
        return float(self.misfit[1] + 0.5 * off @ self.model.precision @ off)

    @property
    def pull(self) -> NDArray[np.float64]:
        """Negative gradient (shape,) of the cost of the prior."""
        return self.model.precision @ (self.model.mean - self.kernel.shape)

    def add_prior_precision(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add the precision of the prior to a matrix whose first variables are the shape and the phase, in place."""
        size = len(self.model.mean)
        matrix[:size, :size] += self.model.precision
        matrix[size, size] += 1.0  # total symmetry has no phase, and no phase matters beyond a radian
        return matrix


@dataclass(frozen=True)
class Alignment(Fit):
    """A kernel held against the quadratic form of an image; a :class:`shared.descent.Problem`."""

    form: QuadraticForm

    @cached_property
    def misfit(self) -> tuple[float, float]:
        squares = max(self.form.squared_distance(self.kernel.symmetry.weights, self.coefficient), 0.0)
        return misfit(squares, self.form.pixels, least_variance(self.form.brightness))

    @property
    def cost(self) -> float:
        return self.cost_of_kernel

    @cached_property
    def evidence(self) -> float:
        """Logarithm of the probability of the image given the model, up to a constant, by Laplace's approximation."""
        determinants = np.linalg.slogdet(self.model.precision)[1] - np.linalg.slogdet(self.normal_equations()[0])[1]
        return float(0.5 * determinants - self.cost)

    def normal_equations(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See :class:`shared.descent.Problem`; the last variable is the phase."""
        weights, slopes = self.kernel.symmetry.weights, self.kernel.symmetry.slopes
        h, size = self.form.linear.shape
        by_shape = weights[:, None, None] * self.model.tangent(self.kernel.shape)
        by_phase = slopes[:, None, None] * self.coefficient[:, None]
        tangent = np.concatenate([by_shape, by_phase], axis=2).reshape(h * size, -1)
        gram = self.form.gram.transpose(0, 2, 1, 3).reshape(h * size, h * size)
        residual = self.form.linear.ravel() - gram @ np.multiply.outer(weights, self.coefficient).ravel()
        matrix = self.add_prior_precision(tangent.T @ gram @ tangent / self.noise)
        downhill = tangent.T @ residual / self.noise
        downhill[:-1] += self.pull
        return matrix, downhill

    def moved(self, step: NDArray[np.float64]) -> Self:
        return replace(self, kernel=self.kernel.moved(step))


def align(form: QuadraticForm, model: ProfileModel, start: Kernel, *, steps: int = 30) -> Alignment:
    """Find the most probable kernel with the fold of ``start``; ``form`` has the harmonics of that fold alone."""
    return descend(Alignment(model, start, form), steps=steps)


def least_variance(brightness: float) -> float:
    """Variance of the model's rounding for an image whose pixels have this mean square."""
    return max(MODEL_ROUNDING**2 * brightness, float(np.finfo(np.float32).tiny))
