"""Tikhonov deconvolution with a kernel that is nowhere negative: right for eq. 7, wrong for kernels that change sign.

As in ``tikhonov.py``, the kernel is written in cubic B-splines and its coefficients c minimise

    |A c - image|^2 + n smoothness |h^2 lap c / 4|^2 + sum_j confinement(r_j) c_j^2,

with the same two solutions and weights that follow from the noise of the image and from the error of the model, but in
the second one with c >= 0. B-splines are positive, so the kernel is not negative anywhere. The constraint leaves fewer
kernels that explain the image, and noise is no longer fitted by negative parts.

The minimum is found by accelerated projected gradient steps (``shared/deconvolution.py``). A kernel that is negative
somewhere, as those outside eq. 7 are, cannot be found: the entry states in ``knows`` that it takes this from eq. 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from shared.deconvolution import Lattice, LeastSquares
from shared.deconvolver import Deconvolver


@dataclass(kw_only=True, eq=False)
class Model(Deconvolver):
    """Deconvolves every image under the constraint that the kernel is nowhere negative.

    Parameters
    ----------
    smoothness, confinement, noise, model_error, iterations, tolerance
        See :class:`shared.deconvolver.Deconvolver`; the last two are of the solutions without the constraint.
    steps
        Largest number of steps of the solution with the constraint.
    least_change
        Change of the coefficients in a step, relative to their norm, at which that solution ends.
    """

    knows: ClassVar = ["non-negativity"]

    steps: int = 100
    least_change: float = 1e-4

    def solve_finally(self, problem: LeastSquares, start: Lattice) -> Lattice:
        """Minimise over kernels that are nowhere negative."""
        return problem.nonnegative_solution(iterations=self.steps, tolerance=self.least_change, start=start)
