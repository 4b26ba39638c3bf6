"""Tikhonov deconvolution with a kernel that is nowhere negative: right for eq. 7, wrong for kernels that change sign.

As in ``tikhonov.py``, the kernel is written in cubic B-splines and its coefficients c minimise

    |A c - image|^2 + n smoothness |h^2 lap c / 4|^2 + sum_j confinement(r_j) c_j^2,

with the same two solutions and weights that follow from the noise of the image, but in the second one with c >= 0.
B-splines are positive, so the kernel is not negative anywhere. The constraint leaves fewer kernels that explain the
image, and noise is no longer fitted by negative parts.

The minimum is found by accelerated projected gradient steps (``shared/deconvolution.py``). A kernel that is negative
somewhere, as those outside eq. 7 are, cannot be found: the entry states in ``knows`` that it takes this from eq. 7.
"""

from __future__ import annotations

from typing import ClassVar

from shared.deconvolution import Lattice, LeastSquares, extraction
from shared.extractor import Extraction, Extractor, Observation
from shared.smoothing import Smoothing, deconvolved


class Model(Extractor):
    """Deconvolves every image under the constraint that the kernel is nowhere negative.

    Parameters
    ----------
    smoothness, confinement
        Factors of the weights that follow from the noise.
    noise
        Standard deviation of the noise in the units of the image; estimated from the image without it.
    first_iterations, first_tolerance
        Of the first solution, which has no constraint: see ``tikhonov.py``.
    iterations
        Largest number of steps of the second solution.
    tolerance
        Change of the coefficients in a step, relative to their norm, at which the second solution ends.
    """

    knows: ClassVar = ["non-negativity"]

    def __init__(
        self,
        *,
        smoothness: float = 1.0,
        confinement: float = 1.0,
        noise: float | None = None,
        first_iterations: int = 60,
        first_tolerance: float = 1e-3,
        iterations: int = 100,
        tolerance: float = 1e-4,
    ) -> None:
        self.smoothing = Smoothing(smoothness_factor=smoothness, confinement_factor=confinement)
        self.noise = noise
        self.first_iterations = first_iterations
        self.first_tolerance = first_tolerance
        self.iterations = iterations
        self.tolerance = tolerance

    def extract(self, observation: Observation) -> Extraction:
        """Extract the kernel of one observation; ``noise`` in the diagnostics is the noise level.

        Raises
        ------
        ValueError
            If no pixel can be used, or no scatterer lies in the field or near it.
        """
        found = deconvolved(observation, self.smoothing, self._first, self._final, noise=self.noise)
        return extraction(found.coefficient, observation, noise=found.noise)

    def _first(self, problem: LeastSquares, start: Lattice) -> Lattice:
        return problem.solution(iterations=self.first_iterations, tolerance=self.first_tolerance, start=start)

    def _final(self, problem: LeastSquares, start: Lattice) -> Lattice:
        return problem.nonnegative_solution(iterations=self.iterations, tolerance=self.tolerance, start=start)
