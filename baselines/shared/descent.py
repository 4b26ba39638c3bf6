"""Levenberg-Marquardt descent for problems that know their own cost and normal equations."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

FIRST_DAMPING = 1e-3
FACTOR = 8.0
TRIALS = 6
"""Dampings tried in one step before the descent ends."""


class Problem(Protocol):
    """A point of a minimisation."""

    @property
    def cost(self) -> float:
        """Negative logarithm of the posterior density at the point, up to a constant."""

    def normal_equations(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The matrix (d, d), positive definite, and the negative gradient of the cost, (d,)."""

    def moved(self, step: NDArray[np.float64]) -> Self:
        """The point after a step (d,)."""


AnyProblem = TypeVar("AnyProblem", bound=Problem)


def descend(point: AnyProblem, *, steps: int, tolerance: float = 0.05) -> AnyProblem:
    """Return the point of least cost that was found.

    Parameters
    ----------
    point
        Where to start.
    steps
        Largest number of steps.
    tolerance
        The last step is one that promises to lower the cost by less than this, or has lowered it by less together with
        the step before.
    """
    damping, last_gain = FIRST_DAMPING, np.inf
    for _ in range(steps):
        matrix, downhill = point.normal_equations()
        for _ in range(TRIALS):
            step = _damped_step(matrix, downhill, damping)
            if step is not None:
                tried, is_last = point.moved(step), 0.5 * step @ downhill < tolerance
                if tried.cost <= point.cost:
                    break
                if is_last:
                    return point
            damping *= FACTOR
        else:
            return point
        gain, point, damping = point.cost - tried.cost, tried, max(damping / FACTOR, 1e-9)
        if is_last or gain + last_gain < tolerance:
            return point
        last_gain = gain
    return point


def _damped_step(
    matrix: NDArray[np.float64], downhill: NDArray[np.float64], damping: float
) -> NDArray[np.float64] | None:
    damped = matrix.copy()
    np.fill_diagonal(damped, (1 + damping) * np.diagonal(matrix))
    try:
        step: NDArray[np.float64] = cho_solve(cho_factor(damped, overwrite_a=True, check_finite=False), downhill)
    except LinAlgError:  # rounding has left the matrix without a positive pivot
        return None
    return step


def misfit(squares: float, pixels: int, least_variance: float) -> tuple[float, float]:
    """Variance of the noise that explains a sum of squared residuals best, and the negative log-likelihood with it.

    The variance is at least ``least_variance``, the rounding of the model itself.
    """
    variance = max(squares / pixels, least_variance)
    return variance, 0.5 * (pixels * np.log(variance) + squares / variance)
