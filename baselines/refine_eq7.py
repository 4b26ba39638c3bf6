"""``eq7_fit`` together with the places, strengths and number of the scatterers.

The kernel of eq. 7 that explains the image with the told scatterers best is the start. ``shared/refined.py`` then fits
kernel and scatterers together, as far as the image shows that the told ones are wrong:

- Marks of a raster move inside normal distributions as wide as their cells. Exact places and strengths get a normal
  spread if the evidence of the image, of a linearised Bayesian model, is greater with it; the evidence gives its size.
- The residual shows scatterers that are not told, told ones that are not there, and marks that stand for two: strengths
  that it would change by one, with all other variables following. A change stays if it makes the image more likely by
  enough.

With places that are exact, and a clean image, the result is that of ``eq7_fit``. Diagnostics have the scatterers. Of
images with more than 4 million pairs of a pixel and a scatterer a random part of the pixels is used.

Sources: eq. 7 of arXiv 2506.05325. Evidence: MacKay, Neural Computation 4, 415 (1992). The search for scatterers is our
own; it is a matching pursuit (Mallat and Zhang, IEEE Trans. Signal Process. 41, 3397, 1993) with score tests.
"""

from __future__ import annotations

from shared.eq7_choice import Look
from shared.eq7_extraction import extraction_of
from shared.extractor import Extraction, Extractor, Observation

needs = "raster"
knows = ["eq. 7"]

MOST_STARTS = 3
"""Fits of similar likelihood that are refined; most images have one."""


class Model(Extractor):
    """Fits eq. 7 and the scatterers.

    Parameters
    ----------
    amplitude
        Factor of eq. 7 in units of the image, if it is known. If None it is 1 unless the image asks for another one, as
        in ``eq7_fit``.
    """

    def __init__(self, *, amplitude: float | None = None) -> None:
        self.amplitude = amplitude

    def extract(self, observation: Observation) -> Extraction:
        """See :class:`shared.extractor.Extractor`."""
        look = Look.at(observation, self.amplitude)
        return extraction_of(*look.with_scatterers(whole=True, most=MOST_STARTS))
