"""What the entries that deconvolve with weights share: their options, and how they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from shared.deconvolution import Lattice, LeastSquares, extraction
from shared.extractor import Extraction, Extractor, Observation
from shared.smoothing import Smoothing, deconvolved


@dataclass(kw_only=True, eq=False)
class Deconvolver(Extractor):
    """Deconvolves every image with a smoothness and a confinement that follow from its noise and its model error.

    Parameters
    ----------
    smoothness, confinement
        Factors of the weights.
    noise
        Standard deviation of the noise in the units of the image; estimated from the image without it.
    model_error
        Variance that the model leaves of a pixel beside noise and rounding, over the variance of the image; found by
        cross-validation without it.
    iterations
        Largest number of iterations of conjugate gradients for a solution.
    tolerance
        Residual of the normal equations, relative to their right side, at which a solution ends.
    """

    knows: ClassVar[list[str]] = []

    smoothness: float = 1.0
    confinement: float = 1.0
    noise: float | None = None
    model_error: float | None = None
    iterations: int = 60
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        self.smoothing = Smoothing(
            smoothness=self.smoothness,
            confinement=self.confinement,
            noise=self.noise,
            model_error=self.model_error,
        )

    def extract(self, observation: Observation) -> Extraction:
        """Extract the kernel of one observation; the diagnostics have ``noise`` and ``model_error``.

        Raises
        ------
        ValueError
            If no pixel can be used, or no scatterer lies in the field or near it.
        """
        found = deconvolved(observation, self.smoothing, self.solve, self.solve_finally)
        return extraction(found.coefficient, observation, noise=found.noise, model_error=found.model_error)

    def solve(self, problem: LeastSquares, start: Lattice) -> Lattice:
        """Minimise without a constraint."""
        return problem.solution(iterations=self.iterations, tolerance=self.tolerance, start=start)

    def solve_finally(self, problem: LeastSquares, start: Lattice) -> Lattice:
        """Minimise in the solution that is the result."""
        return self.solve(problem, start)
