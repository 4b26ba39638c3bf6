"""Fit of eq. 7 to an image, over all folds: variable projection for the start, then Levenberg-Marquardt.

The image is the sum over its scatterers of

    A(r, theta) = sin^2(n theta / 2 + phi1) sin^2(B r + phi2) exp(-C r^2),    n = 0, 2, 3, 4 or 6,

plus white noise, and times an amplitude that is 1 in the releases. A measured image has other units: the amplitude is
free where the image is much likelier with another one, and so are an offset, a tilt, and offsets of scan lines
(``shared/eq7_choice.py``). ``shared/eq7_start.py`` says how the start is found, and needs no guess: for a fold and a
pair (B, C) the image is linear in nine coefficients. From the best starts Levenberg-Marquardt steps with analytic
derivatives lower the squared residual over phi1, B, phi2 and C. The covariance of the parameters is the inverse of
their Fisher matrix with the estimated noise, and gives the standard deviation of every pixel.

The wavelengths pi/B that are tried begin at two pixels, and the decay lengths 1/sqrt(C) reach from two pixels to the
size of the field. Where the scatterers are marks in a raster, their positions are refined together with the kernel,
inside normal distributions as wide as the cells (``shared/joint_fit.py``). Their number is not changed; the entry
``refine`` does that.

The formula is that of arXiv 2506.05325, equation 7; kernels that do not follow it are fitted by the nearest one that
does. Variable projection: Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973).
"""

from __future__ import annotations

from shared.eq7_choice import Look
from shared.eq7_extraction import extraction, extraction_of
from shared.extractor import Extraction, Extractor, Observation

needs = "raster"
knows = ["eq. 7"]

MOST_STARTS = 4
"""Fits of similar likelihood that are refined where scatterers are marks in a raster; most images have one."""


class Model(Extractor):
    """Fits fold, phi1, B, phi2 and C of eq. 7.

    Parameters
    ----------
    amplitude
        Factor of eq. 7 in units of the image, if it is known. If None it is 1, as in the releases, unless the image
        asks for another one: a factor that is always free would raise the error of noisy images.
    """

    def __init__(self, *, amplitude: float | None = None) -> None:
        self.amplitude = amplitude

    def extract(self, observation: Observation) -> Extraction:
        """See :class:`shared.extractor.Extractor`."""
        look = Look.at(observation, self.amplitude)
        if any(observation.scatterers.cell):
            return extraction_of(*look.with_scatterers(whole=False, most=MOST_STARTS))
        look = look.best()
        best, noise = look.fits[0], look.noise()
        return extraction(look, best.kernel, best.covariance(noise, look.ranges), noise)
