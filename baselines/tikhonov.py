"""Tikhonov deconvolution: assumes linear superposition and a smooth, confined kernel.

An observation is the sum of shifted copies of the kernel, one for each scatterer. The kernel is written in cubic
B-splines on the lattice of offsets between pixels (``shared/deconvolution.py``), and its coefficients c minimise

    |A c - image|^2 + n smoothness |h^2 lap c / 4|^2 + sum_j confinement(r_j) c_j^2

where A superposes the kernel at the scatterers, n is their number, h the pixel pitch and r the distance from the
scatterer. The normal equations are solved by conjugate gradients, twice:

1. with confinement(r) = n (0.5 + 0.1 q) (r / L)^4 and smoothness 0.03 + 0.3 q, L the size of the field;
2. with confinement(r) = s / v(r), v(r) the mean square of the first solution's coefficients around the distance r, and
   smoothness 0.005 + 0.3 q.

q is the variance of the noise over that of the signal, in the second solution that of noise and model error, and
s = sigma^2 + g^2 + e var(image) is the variance that the model leaves of a pixel. So noisy images get more smoothing
than clean ones, and images that the model explains badly get more than those that it explains:

- The noise level sigma is estimated from the image (``shared/noise.py``).
- Where the scatterers are marks in a raster, rounding leaves g^2, which is 1/12 of the mean square of the image's
  change over a cell.
- The model error e is what wrong positions and strengths, missing scatterers, scatterers outside the field, lines and
  tilts leave. A kernel on twice the field can fit most of it, so the residual does not show it. It is found by
  cross-validation instead: a quarter of the pixels, in blocks of a sixth of the field, is held out, and e is the
  largest of 1, 0.3, 0.1, 0.03 and 0.001 with which the other pixels predict them as well as they can
  (``shared/held_out.py``). Even a right model leaves 0.001, by lattice and smoothness.

``shared/smoothing.py`` tells how the numbers were chosen. Sources: A. N. Tikhonov, Soviet Mathematics Doklady 4, 1035
(1963); for blocks in cross-validation, where errors are correlated, D. R. Roberts et al., Ecography 40, 913 (2017),
https://doi.org/10.1111/ecog.02881.
"""

from __future__ import annotations

from shared.deconvolver import Deconvolver


class Model(Deconvolver):
    """Deconvolves every image; the options are those of :class:`shared.deconvolver.Deconvolver`."""
