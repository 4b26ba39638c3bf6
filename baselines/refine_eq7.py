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

from shared.eq7_extraction import extraction_of
from shared.eq7_kernel import FreeEq7, fits, ranges_of
from shared.extractor import Extraction, Extractor, Observation
from shared.observed import scatterer_points, seen_points
from shared.refined import refined

needs = "raster"
knows = ["eq. 7"]

MOST_STARTS = 3
"""Fits of similar likelihood that are refined; most images have one."""


class Model(Extractor):
    """Fits eq. 7 and the scatterers."""

    def extract(self, observation: Observation) -> Extraction:
        """See :class:`shared.extractor.Extractor`."""
        image, pixels = seen_points(observation)
        ranges = ranges_of(observation.grid)
        starts = fits(image, pixels, scatterer_points(observation.scatterers, observation.grid), ranges)[:MOST_STARTS]
        joint = [refined(image, pixels, observation, FreeEq7(one.kernel, ranges)) for one in starts]
        return extraction_of(observation, min(joint, key=lambda one: one.cost))
