"""Tikhonov deconvolution: assumes linear superposition and a smooth, confined kernel.

An observation is the sum of shifted copies of the kernel, one for each scatterer. The kernel is written in cubic
B-splines on the lattice of offsets between pixels (``shared/deconvolution.py``), and its coefficients c minimise

    |A c - image|^2 + n smoothness |h^2 lap c / 4|^2 + sum_j confinement(r_j) c_j^2

where A superposes the kernel at the scatterers, n is their number, h the pixel pitch and r the distance from the
scatterer. The normal equations are solved by conjugate gradients, twice:

1. with confinement(r) = n (0.5 + 0.1 q) (r / L)^4 and smoothness 0.03 + 0.3 q, L the size of the field;
2. with confinement(r) = s / v(r), v(r) the mean square of the first solution's coefficients around the distance r, and
   smoothness 0.005 + 0.3 q.

The noise level sigma is estimated from the image (``shared/noise.py``). It sets q, the variance of the noise over that
of the signal, and s = sigma^2 + g^2 + 0.001 var(image), the variance that the model leaves of a pixel. Even without
noise, lattice and smoothness leave a rest. Where the scatterers are marks in a raster, rounding leaves g^2, which is
1/12 of the mean square of the image's change over a cell. So noisy images get more smoothing than clean ones.
``shared/smoothing.py`` tells how the numbers were chosen. Source of the method: A. N. Tikhonov, Soviet Mathematics
Doklady 4, 1035 (1963).
"""

from __future__ import annotations

from typing import ClassVar

from shared.deconvolution import Lattice, LeastSquares, extraction
from shared.extractor import Extraction, Extractor, Observation
from shared.smoothing import Smoothing, deconvolved


class Model(Extractor):
    """Deconvolves every image with a smoothness and a confinement that follow from its noise.

    Parameters
    ----------
    smoothness, confinement
        Factors of the weights that follow from the noise.
    noise
        Standard deviation of the noise in the units of the image; estimated from the image without it.
    iterations
        Largest number of iterations of each of the two solutions.
    tolerance
        Residual of the normal equations, relative to their right side, at which a solution ends.
    """

    knows: ClassVar[list[str]] = []

    def __init__(
        self,
        *,
        smoothness: float = 1.0,
        confinement: float = 1.0,
        noise: float | None = None,
        iterations: int = 60,
        tolerance: float = 1e-3,
    ) -> None:
        self.smoothing = Smoothing(smoothness_factor=smoothness, confinement_factor=confinement)
        self.noise = noise
        self.iterations = iterations
        self.tolerance = tolerance

    def extract(self, observation: Observation) -> Extraction:
        """Extract the kernel of one observation; ``noise`` in the diagnostics is the noise level.

        Raises
        ------
        ValueError
            If no pixel can be used, or no scatterer lies in the field or near it.
        """
        found = deconvolved(observation, self.smoothing, self._solve, self._solve, noise=self.noise)
        return extraction(found.coefficient, observation, noise=found.noise)

    def _solve(self, problem: LeastSquares, start: Lattice) -> Lattice:
        return problem.solution(iterations=self.iterations, tolerance=self.tolerance, start=start)
