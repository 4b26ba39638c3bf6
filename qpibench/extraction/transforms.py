r"""Fourier transforms of maps and kernels with phases that count from the scatterers.

The transform of an image I is

.. math::

    I(q) = \sum_r I(r) e^{-i q r}\, \Delta x\, \Delta y,

with r from the centre of the field. A map of the kernel A at the scatterers :math:`R_j` has the transform
:math:`A(q) \sum_j e^{-i q R_j}`. The scatterer-centred (phase-referenced) transform removes the phases of the places:

.. math::

    A_{ref}(q) = \frac{I(q) \sum_j e^{i q R_j}}{\max(|\sum_j e^{i q R_j}|^2, N)}

with N scatterers. Without noise and edges it is A(q) where the structure :math:`|\sum_j e^{i q R_j}|^2` is at least N,
its mean for places by chance, and closer to 0 elsewhere, where division by the structure would magnify the noise.

Source: P. Sharma et al., npj Quantum Materials 6, 7 (2021), doi:10.1038/s41535-020-00303-4 (multi-atom
quasiparticle interference).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from qpibench.pages.fourier import wavevectors

Values = NDArray[np.float64]
Complex = NDArray[np.complex128]


def transform(image: Values, grid: Grid) -> Complex:
    """Return the transform of an image (y, x) at the wavevectors of its grid, zero in the middle, in its unit x nm^2.

    Its mean is subtracted before; NaN counts as the mean.
    """
    seen = np.isfinite(image)
    mean = image[seen].mean() if seen.any() else 0.0
    q_y, q_x = wavevectors(grid.ny, grid.pitch_y_nm), wavevectors(grid.nx, grid.pitch_x_nm)
    summed = np.fft.fftshift(np.fft.fft2(np.where(seen, image - mean, 0.0)))
    from_centre = np.exp(-1j * (q_y[:, None] * grid.y_nm[0] + q_x * grid.x_nm[0]))
    found: Complex = summed * from_centre * grid.pitch_x_nm * grid.pitch_y_nm
    return found


def scatterer_centred(image: Values, grid: Grid, position_nm: Values) -> Complex:
    """Return the scatterer-centred transform of a map (y, x), normalised by the structure of its scatterers.

    Parameters
    ----------
    image, grid
        The map, whose mean is subtracted; NaN counts as the mean.
    position_nm
        (scatterer, 2): x and y from the centre of the field. Scatterers outside the field do not count.
    """
    half_x, half_y = (grid.size_x_nm + grid.pitch_x_nm) / 2, (grid.size_y_nm + grid.pitch_y_nm) / 2
    inside = position_nm[(np.abs(position_nm[:, 0]) <= half_x) & (np.abs(position_nm[:, 1]) <= half_y)]
    q_y, q_x = wavevectors(grid.ny, grid.pitch_y_nm), wavevectors(grid.nx, grid.pitch_x_nm)
    structure = np.exp(1j * np.outer(q_y, inside[:, 1])) @ np.exp(1j * np.outer(inside[:, 0], q_x))
    found: Complex = transform(image, grid) * structure / np.maximum(np.abs(structure) ** 2, max(len(inside), 1))
    return found
