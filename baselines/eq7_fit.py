"""Fit of eq. 7 to an image, over all folds: variable projection for the start, then Levenberg-Marquardt.

The image is the sum over its scatterers of

    A(r, theta) = sin^2(n theta / 2 + phi1) sin^2(B r + phi2) exp(-C r^2),    n = 0, 2, 3, 4 or 6,

plus white noise. ``shared/eq7_start.py`` says how the start is found, and needs no guess: for a fold and a pair (B, C)
the image is linear in nine coefficients. From the best starts Levenberg-Marquardt steps with analytic derivatives lower
the squared residual over phi1, B, phi2 and C. The covariance of the parameters is the inverse of their Fisher matrix
with the estimated noise, and gives the standard deviation of every pixel.

The wavelengths pi/B that are tried begin at two pixels, and the decay lengths 1/sqrt(C) reach from two pixels to the
size of the field. The scatterers are taken to lie where the view says.

The formula is that of arXiv 2506.05325, equation 7; kernels that do not follow it are fitted by the nearest one that
does. Variable projection: Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973).
"""

from __future__ import annotations

import numpy as np
from shared.eq7_kernel import ROUNDING, fit, ranges_of
from shared.extractor import Extraction, Extractor, Observation
from shared.observed import scatterer_points, seen_points

needs = "raster"
knows = ["eq. 7"]


class Model(Extractor):
    """Fits fold, phi1, B, phi2 and C of eq. 7."""

    def extract(self, observation: Observation) -> Extraction:
        image, pixels = seen_points(observation)
        scatterers = scatterer_points(observation.scatterers, observation.grid)
        ranges = ranges_of(observation.grid)
        found = fit(image, pixels, scatterers, ranges)
        noise = found.noise(image)
        std = found.kernel.std(observation.kernel_grid, found.covariance(noise, ranges))
        return Extraction(
            kernel=found.kernel.image(observation.kernel_grid),
            kernel_full=found.kernel.image(observation.grid.offsets),
            std=np.hypot(std, ROUNDING),
            diagnostics={**found.kernel.named(), "noise": float(np.sqrt(noise)), "squares": found.squares},
        )
