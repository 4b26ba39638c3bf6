"""Kernel and positions from one image, where the positions are known only up to a cell of the activation map.

The positions get a normal prior around the centres of their cells. Kernel and positions descend together. Scatterers
that share a cell are one mark in a map; a score test finds the marks that stand for two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from shared.alignment import Fit, Kernel, least_variance
from shared.cholesky import lower_factor
from shared.descent import descend, misfit
from shared.polar import Linearised, Points, linearise, superposed
from shared.profiles import ProfileModel

NEAREST = 0.25
"""Distance from a scatterer, in standard deviations of its position, within which slopes are not resolved."""

APART = 0.5
"""Half the distance of a new pair of scatterers from each other, in standard deviations of a position."""

LARGEST_MOVE = 2.0
"""Longest move of a scatterer in one step, in standard deviations."""

LEAST_GAIN = 10.0
"""Natural logarithm of the odds by which a further scatterer must improve the fit after the descent."""

LEAST_FIRST_GAIN = 5.0
"""The same to first order and before the pair has moved apart, which improves the fit further."""

MOST_PAIRS = 16
"""Largest number of pairs that are looked for; an image that the model does not fit would have more."""

LEAST_CURVATURE = 1e-5
"""Share of a scatterer's image that no other variable may imitate, above the rounding of float32 sums."""

LEAST_STRENGTH = 0.4
"""Strength that the residual must give to a further scatterer, whose true strength is 1."""


@dataclass(frozen=True)
class Observation:
    """An image with marks for its scatterers.

    Attributes
    ----------
    image
        (pixel,) float64.
    pixels
        The pixels.
    sigma_nm
        Standard deviations of a scatterer's x and y about its mark.
    """

    image: NDArray[np.float64]
    pixels: Points
    sigma_nm: tuple[float, float]

    @cached_property
    def least_variance(self) -> float:
        """Variance of the model's rounding."""
        return least_variance(float(self.image @ self.image) / len(self.image))


@dataclass(frozen=True)
class Refinement(Fit):
    """A kernel and positions held against an image; a :class:`shared.descent.Problem`.

    Attributes
    ----------
    marks, scatterers
        The given and the refined positions.
    """

    observation: Observation
    marks: Points
    scatterers: Points

    @cached_property
    def residual(self) -> NDArray[np.float64]:
        """The image less the model, (pixel,)."""
        symmetry, basis = self.kernel.symmetry, self.model.basis
        return self.observation.image - superposed(
            self.observation.pixels, self.scatterers, basis, symmetry, self.coefficient
        )

    @cached_property
    def misfit(self) -> tuple[float, float]:
        return misfit(float(self.residual @ self.residual), len(self.residual), self.observation.least_variance)

    @property
    def cost(self) -> float:
        return self.cost_of_kernel + 0.5 * float((self._moves**2).sum())

    @property
    def _moves(self) -> NDArray[np.float64]:
        """Distances (2 scatterer,) from the marks in standard deviations."""
        sx, sy = self.observation.sigma_nm
        x, y = self.scatterers.x - self.marks.x, self.scatterers.y - self.marks.y
        return np.column_stack([x / sx, y / sy]).ravel()

    @cached_property
    def _linearised(self) -> Linearised:
        seen, kernel = self.observation, self.kernel
        nearest_nm = NEAREST * min(seen.sigma_nm)
        return linearise(
            seen.pixels, self.scatterers, self.model.basis, kernel.symmetry, self.coefficient, nearest_nm=nearest_nm
        )

    @cached_property
    def _tangent(self) -> NDArray[np.float64]:
        return self.model.tangent(self.kernel.shape)

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """Posterior precision (d, d) of the variables of :meth:`normal_equations`."""
        # Products in float64 are those of the rounded columns, so that the matrix has no negative eigenvalue.
        return self._matrix(self._linearised.columns.astype(np.float64))

    def _matrix(self, columns: NDArray[np.floating]) -> NDArray[np.float64]:
        size, shape = self.model.basis.size, len(self.kernel.shape)
        gram = (columns.T @ columns).astype(np.float64) / self.noise
        matrix = np.empty((shape + len(gram) - size,) * 2)
        matrix[:shape, :shape] = self._tangent.T @ gram[:size, :size] @ self._tangent
        matrix[:shape, shape:] = self._tangent.T @ gram[:size, size:]
        matrix[shape:, :shape] = matrix[:shape, shape:].T
        matrix[shape:, shape:] = gram[size:, size:]
        places = np.arange(shape + 1, len(matrix))
        matrix[places, places] += self._position_precision
        return self.add_prior_precision(matrix)

    def _of_variables(self, of_columns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Products with the derivatives by the variables, from products (column, ...) with the columns."""
        exact, size = of_columns.astype(np.float64), self.model.basis.size
        return np.concatenate([self._tangent.T @ exact[:size], exact[size:]]) / self.noise

    @cached_property
    def _position_precision(self) -> NDArray[np.float64]:
        return np.tile(self.observation.sigma_nm, self.scatterers.size) ** -2.0

    def normal_equations(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See :class:`shared.descent.Problem`: the shape, the phase, and x and y of every scatterer in turn."""
        columns = self._linearised.columns
        scale = np.sqrt(self.noise)  # keeps the products within the range of float32
        downhill = self._of_variables(columns.T @ (self.residual / scale).astype(np.float32)) * scale
        shape = len(self.kernel.shape)
        downhill[:shape] += self.pull
        downhill[shape + 1 :] -= self._moves * np.sqrt(self._position_precision)
        return self._matrix(columns), downhill

    def moved(self, step: NDArray[np.float64]) -> Self:
        count = self.scatterers.size
        sigma = np.array(self.observation.sigma_nm)
        moves = np.clip(step[len(step) - 2 * count :].reshape(count, 2), -LARGEST_MOVE * sigma, LARGEST_MOVE * sigma)
        x, y = self.scatterers.x + moves[:, 0], self.scatterers.y + moves[:, 1]
        kernel = self.kernel.moved(step[: len(step) - 2 * count])
        return replace(self, kernel=kernel, scatterers=Points(x, y, self.scatterers.strength))

    def most_likely_pair(self) -> int | None:
        """Return the scatterer whose mark most likely stands for two, or None if none does.

        The score test adds a second scatterer of strength 1 at every place in turn, and lets all other variables follow
        to first order.
        """
        single = self._linearised.single.astype(np.float64)
        shared = self._of_variables(self._linearised.columns.T @ self._linearised.single)
        follow = (shared * cho_solve((lower_factor(self.precision), True), shared)).sum(axis=0)
        squares = (single**2).sum(axis=0) / self.noise
        curvature = squares - follow
        slope = single.T @ self.residual / self.noise
        distinct = (curvature > LEAST_CURVATURE * squares) & (slope > LEAST_STRENGTH * curvature)
        gain = np.where(distinct, slope - 0.5 * curvature, -np.inf)
        best = int(np.argmax(gain))
        return best if gain[best] > LEAST_FIRST_GAIN else None

    def with_pair(self, k: int) -> Self:
        """The point with a second scatterer at mark k, both a little apart from where the one was."""
        sx, sy = (APART * sigma for sigma in self.observation.sigma_nm)
        x, y = (np.append(values, values[k]) for values in (self.scatterers.x, self.scatterers.y))
        x[[k, -1]] += sx, -sx
        y[[k, -1]] += 0.7 * sy, -0.7 * sy  # off the diagonal, which some kernels have as an axis
        strength = np.append(self.scatterers.strength, self.scatterers.strength[k])
        marks = Points(*(np.append(values, values[k]) for values in self.marks))
        return replace(self, marks=marks, scatterers=Points(x, y, strength))


def refine(
    observation: Observation, model: ProfileModel, start: Kernel, marks: Points, *, steps: int = 20
) -> Refinement:
    """Find the most probable kernel and positions, and the marks that stand for two scatterers.

    Parameters
    ----------
    observation
        The image.
    model
        Family of the profile.
    start
        First estimate of the kernel; its fold is kept.
    marks
        Centres of the cells.
    steps
        Largest number of steps of each descent.
    """
    point = descend(Refinement(model, start, observation, marks, marks), steps=steps)
    for _ in range(min(MOST_PAIRS, 4 + marks.size // 8)):
        k = point.most_likely_pair()
        if k is None:
            break
        tried = descend(point.with_pair(k), steps=steps)
        if point.cost - tried.cost < LEAST_GAIN:
            break
        point = tried
    return point
