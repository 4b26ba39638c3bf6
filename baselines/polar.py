r"""Polar extraction, the default: angular harmonics times radial splines, with a Gaussian-process prior.

The image is the sum of the kernel at all scatterers, so it is linear in the kernel

.. math::

    K(r, \theta) = \sum_m \big[ a_m(r) \cos m \theta + b_m(r) \sin m \theta \big],

whose radial functions are cubic B-splines. Their prior is a Gaussian process: a smooth part and ripples of one
wavenumber under a decaying envelope (``shared/radial_prior.py``). Everything else follows from the evidence, the
probability of the image after integration over the kernel:

- the fold n of the symmetry, by a screening of n = 0 to 8 on coarse splines;
- whether a kernel is separable, f(r) (w_0 + w_1 cos n theta + w_2 sin n theta), or has more harmonics of n, and whether
  it is its own mirror image;
- wavenumber, envelope, coherence and roughness of the radial functions, and the noise;
- whether the image has an offset, a tilt, or an offset of every scan line.

No step looks at the kernels of a training role, and all images are extracted with one configuration. The standard
deviation of a pixel is that of the posterior, and includes what the image leaves open of the angular pattern and of the
hyper-parameters.

Places that are rounded to a raster blur the kernel, which is undone to second order, and what they do to it at random
is in the standard deviation. An exact activation map tells the places between the pixels (``shared/gathered.py``).

Sources: C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press 2006 (priors and
evidence); D. J. C. MacKay, Neural Computation 4, 415 (1992) (comparison of models by evidence).
"""

from __future__ import annotations

import numpy as np
from shared.extractor import Extraction, Extractor, Observation
from shared.harmonic_kernel import sharpened
from shared.observed import rounding_nm, scatterer_points, seen_points
from shared.polar_search import FirstLook, find

needs = "raster"
knows: list[str] = []


class Model(Extractor):
    """Extracts by the evidence of harmonics and radial functions."""

    def extract(self, observation: Observation, look: FirstLook | None = None) -> Extraction:
        """See :class:`shared.extractor.Extractor`; a first look at the observation need not be taken again."""
        image, pixels = seen_points(observation)
        scatterers = scatterer_points(observation.scatterers, observation.grid)
        rounding = rounding_nm(observation.scatterers, observation.grid)
        found = find(image, pixels, scatterers, observation.grid, rounding_nm=rounding, look=look)
        if found is None:
            nothing = np.zeros(observation.kernel_grid.shape)
            return Extraction(
                kernel=nothing, kernel_full=np.zeros(observation.grid.offsets.shape), diagnostics={"kind": "nothing"}
            )
        kernel = found.kernel
        return Extraction(
            kernel=sharpened(kernel, observation.kernel_grid, rounding),
            kernel_full=sharpened(kernel, observation.grid.offsets, rounding),
            std=found.std(observation.kernel_grid),
            diagnostics={
                "kernel": kernel,
                "fold": found.fold,
                "kind": found.kind,
                "orders": found.basis.orders,
                "mirrored": found.basis.mirrored,
                "wavenumber_rad_per_nm": float(np.exp(found.prior.log_wavenumber)),
                "decay_nm": float(np.exp(found.prior.log_decay)),
                "noise": found.noise,
                "nuisance": found.nuisance,
                "open_edge": found.open_edge,
                "evidence": found.evidence,
            },
        )
