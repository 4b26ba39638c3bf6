"""Fit of eq. 7 to an image, over all folds: variable projection for the start, then Levenberg-Marquardt.

The image is the sum over its scatterers of

    A(r, theta) = sin^2(n theta / 2 + phi1) sin^2(B r + phi2) exp(-C r^2),    n = 0, 2, 3, 4 or 6,

plus white noise. ``shared/eq7_start.py`` says how the start is found, and needs no guess: for a fold and a pair (B, C)
the image is linear in nine coefficients. From the best starts Levenberg-Marquardt steps with analytic derivatives lower
the squared residual over phi1, B, phi2 and C. The covariance of the parameters is the inverse of their Fisher matrix
with the estimated noise, and gives the standard deviation of every pixel.

The wavelengths pi/B that are tried begin at two pixels, and the decay lengths 1/sqrt(C) reach from two pixels to the
size of the field. Where the scatterers are marks in a raster, their positions are refined together with the kernel,
inside normal distributions as wide as the cells (``shared/joint_fit.py``). Their number is not changed; the entry
``refine`` does that.

The formula is that of arXiv 2506.05325, equation 7; kernels that do not follow it are fitted by the nearest one that
does. Variable projection: Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973).
"""

from __future__ import annotations

from shared.eq7_extraction import extraction, extraction_of
from shared.eq7_kernel import FreeEq7, fits, ranges_of
from shared.extractor import Extraction, Extractor, Observation
from shared.observed import scatterer_points, seen_points
from shared.refined import refined

needs = "raster"
knows = ["eq. 7"]


class Model(Extractor):
    """Fits fold, phi1, B, phi2 and C of eq. 7."""

    def extract(self, observation: Observation) -> Extraction:
        """See :class:`shared.extractor.Extractor`."""
        image, pixels = seen_points(observation)
        scatterers = scatterer_points(observation.scatterers, observation.grid)
        ranges = ranges_of(observation.grid)
        found = fits(image, pixels, scatterers, ranges)
        if not any(observation.scatterers.cell):
            noise = found[0].noise(image)
            return extraction(observation, found[0].kernel, found[0].covariance(noise, ranges), noise)
        joint = [refined(image, pixels, observation, FreeEq7(one.kernel, ranges), whole=False) for one in found]
        return extraction_of(observation, min(joint, key=lambda one: one.cost))
