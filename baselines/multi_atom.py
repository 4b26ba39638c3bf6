"""Multi-atom phase sum: the mean of the image as seen from every scatterer. It takes no inverse.

The image Y has the Fourier transform Y(q) = sum_r exp(-i q.r) Y(r). It is turned by the phase of each scatterer r_s and
summed over the N scatterers,

    K(q) = 1/N sum_s exp(+i q.r_s) (Y - b)(q),

which is in real space the mean of the image moved by -r_s, with 0 beyond the field: K(u) = 1/N sum_s (Y - b)(r_s + u).
Every scatterer adds its own kernel in phase. The kernels of the others are added at random distances. They average out
as 1/sqrt(N), but there are N of them: the sum does not undo the overlap, and more scatterers do not make it better.

The phase sum is that of the article, which reads the phase of K(q) from it. Division and b are added here, to make it
an estimate in the units of the image. Divided by N, the scatterer's own kernel has the weight 1, or N(u)/N at an offset
u that only N(u) scatterers show inside the field. For independent positions, the other scatterers add a constant on
average, the share 1 - 1/N of the mean of the image, and this is b. With one scatterer b is 0, and the estimate is the
image around it. With strengths w, N is the sum of w and each term has the factor w.

Between pixels the image is a cubic spline, and so is the estimate. Source: R. Sharma, A. Kreisel, M. A. Sulangi,
J. Böker, A. Kostin, M. P. Allan, H. Eisaki, A. E. Böhmer, P. C. Canfield, I. Eremin, J. C. Séamus Davis,
P. J. Hirschfeld and P. O. Sprau, Multi-atom quasiparticle scattering interference for superconductor energy-gap
symmetry determination, npj Quantum Materials 6, 7 (2021), eq. 7, https://doi.org/10.1038/s41535-020-00303-4.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import fft
from shared.deconvolution import extraction, spline_response, superposition
from shared.extractor import Extraction, Extractor, Observation


class Model(Extractor):
    """Averages every image over its scatterers."""

    knows: ClassVar[list[str]] = []

    def extract(self, observation: Observation) -> Extraction:
        """Extract the kernel of one observation.

        Pixels that cannot be used are set to b, and so add nothing.

        Raises
        ------
        ValueError
            If no pixel can be used, or no scatterer lies in the field or near it.
        """
        model = superposition(observation, all_pixels=True)
        background = (1 - 1 / model.strength) * observation.image[observation.seen].mean()
        image = np.where(observation.seen, observation.image - background, 0)
        # One factor turns the pixels into coefficients of their spline, the other one the means.
        response = spline_response(*model.lattice)
        mean = fft.irfft2(model.back_projected(image) / response**2, s=model.lattice) / model.strength
        return extraction(mean.astype(np.float32), observation)
