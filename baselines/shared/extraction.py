"""The most probable kernel for an image and its scatterers, with its uncertainty: :func:`extract`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from qpibench.grid import Grid
from shared.alignment import Kernel, align
from shared.cholesky import lower_factor
from shared.polar import ORIGIN, Points, QuadraticForm, Symmetry, pixels_of, quadratic_form, superposed
from shared.profiles import ProfileModel
from shared.refinement import Observation, refine
from shared.scatterers import Scatterers
from shared.symmetry import LinearEstimate, estimate_linearly

LEAST_SPREAD = 0.01
"""Smallest spread of a coefficient by which symmetries are told apart; the variances of all together are 1."""


@dataclass(frozen=True)
class Extraction:
    """A kernel found in an image.

    Attributes
    ----------
    model, kernel
        The family of profiles, and the kernel.
    covariance
        (shape + 1, shape + 1): posterior covariance of the shape and the phase; errors of the positions are included.
    noise
        Estimated variance of the noise in a pixel.
    scatterers
        Positions with which it was found.
    """

    model: ProfileModel
    kernel: Kernel
    covariance: NDArray[np.float64]
    noise: float
    scatterers: Points

    def image(self, grid: Grid) -> NDArray[np.float64]:
        """The kernel on a grid, (y, x)."""
        coefficient = self.model.coefficient(self.kernel.shape)
        return superposed(pixels_of(grid), ORIGIN, self.model.basis, self.kernel.symmetry, coefficient).reshape(
            grid.shape
        )

    def std(self, grid: Grid) -> NDArray[np.float64]:
        """Posterior standard deviation of the kernel on a grid, (y, x)."""
        pixels = pixels_of(grid)
        angular, slope = self.kernel.symmetry.factors(pixels)
        # The profile's values depend on the distance alone, and most distances of a grid occur several times.
        r_nm, place = np.unique(np.hypot(pixels.x, pixels.y), return_inverse=True)
        functions = self.model.basis.values(r_nm)
        profile = functions @ self.model.coefficient(self.kernel.shape)
        tangent = functions @ self.model.tangent(self.kernel.shape)
        of_profile = ((tangent @ self.covariance[:-1, :-1]) * tangent).sum(axis=1)
        with_phase = profile * (tangent @ self.covariance[:-1, -1])
        of_phase = profile**2 * self.covariance[-1, -1]
        variance = angular**2 * of_profile[place] + 2 * angular * slope * with_phase[place] + slope**2 * of_phase[place]
        std: NDArray[np.float64] = np.sqrt(np.maximum(variance, 0)).reshape(grid.shape)
        return std


def extract(
    image: NDArray[np.floating], grid: Grid, scatterers: Scatterers, model: ProfileModel, folds: Sequence[int]
) -> Extraction:
    """Extract the kernel of an image, or predict the mean of the family where the image shows none.

    Parameters
    ----------
    image
        (y, x): the observation.
    grid
        Its grid.
    scatterers
        Its scatterers. If they are known up to a cell, the positions are refined.
    model
        Family of the radial profile.
    folds
        Symmetries besides total that the kernel may have, ascending.

    Raises
    ------
    ValueError
        If a pixel is not finite.
    """
    if not np.isfinite(image).all():
        raise ValueError("an image has pixels that are not finite, so no kernel can be estimated from it")
    marks = _points(scatterers, grid)
    if not marks.size:
        return _unseen(model, marks)
    pixels = pixels_of(grid)
    # Functions that hardly vary within the family cannot tell symmetries apart.
    leading = int((model.spread > LEAST_SPREAD).sum())
    form = quadratic_form(image, pixels, marks, model.basis.leading(1 + leading), folds)
    if form.shows_nothing:
        return _unseen(model, marks)
    fold = estimate_linearly(form, model.spread[:leading]).symmetry.fold
    form = quadratic_form(image, pixels, marks, model.basis, (fold,) if fold else (), dtype=np.float64)
    estimate = estimate_linearly(form, model.spread)
    form = form.of_fold(estimate.symmetry.fold)
    start = _start(form, estimate, model)
    aligned = max((align(form, one, start) for one in (model, *model.alternatives())), key=lambda point: point.evidence)
    model = aligned.model
    if not any(scatterers.cell):
        return Extraction(
            model, aligned.kernel, _covariance(aligned.normal_equations()[0], aligned.kernel), aligned.noise, marks
        )
    cell_y, cell_x = scatterers.cell
    root = np.sqrt(12)
    sigma_nm = cell_x * grid.pitch_x_nm / root, cell_y * grid.pitch_y_nm / root
    observation = Observation(image.astype(np.float64).ravel(), pixels, sigma_nm)
    refined = refine(observation, model, aligned.kernel, marks)
    covariance = _covariance(refined.precision, refined.kernel)
    return Extraction(model, refined.kernel, covariance, refined.noise, refined.scatterers)


def _start(form: QuadraticForm, estimate: LinearEstimate, model: ProfileModel) -> Kernel:
    """Return the start that fits the image best."""
    shapes, coefficients = model.starts(estimate.coefficient)
    gram, linear = form.of_profile(estimate.symmetry.weights)
    distance = ((coefficients @ gram) * coefficients).sum(axis=1) - 2 * coefficients @ linear
    return Kernel(shapes[int(np.argmin(distance))], estimate.symmetry)


def _covariance(matrix: NDArray[np.float64], kernel: Kernel) -> NDArray[np.float64]:
    size = len(kernel.shape) + 1
    covariance: NDArray[np.float64] = cho_solve((lower_factor(matrix), True), np.eye(len(matrix), size))[:size]
    return covariance


def _unseen(model: ProfileModel, nowhere: Points) -> Extraction:
    """The prediction for an image that shows no kernel: the family's mean profile and its spread.

    The symmetry is total, and the standard deviation does not count that the true one is unknown.
    """
    size = len(model.mean)
    covariance = np.zeros((size + 1, size + 1))
    covariance[:size, :size] = np.linalg.inv(model.precision)
    return Extraction(model, Kernel(model.mean, Symmetry(0, 0.0)), covariance, 0.0, nowhere)


def _points(scatterers: Scatterers, grid: Grid) -> Points:
    x = (scatterers.column - (grid.nx - 1) / 2) * grid.pitch_x_nm
    y = (scatterers.row - (grid.ny - 1) / 2) * grid.pitch_y_nm
    return Points(x, y, scatterers.weight.astype(np.float64))
