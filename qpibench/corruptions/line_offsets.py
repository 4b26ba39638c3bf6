r"""Line offsets: every scan line is shifted by a constant of its own.

Set point and drift differ from line to line, so measured maps have stripes along the fast direction x. The line $i$ of
an image becomes

$$I(x, y_i) = c(x, y_i) + \sigma\, n_i, \qquad \sigma = s\, \mathrm{std}(c),$$

with independent normal numbers $n_i$ of mean 0 and variance 1. The strength $s$ is uniform in its range for each image;
the standard deviation of the clean image is that of :class:`qpibench.corruptions.Draft`.

The four words of draw q of the stream ``line offsets`` give the numbers of the lines 4q to 4q + 3.
``docs/arithmetic.md`` defines the bits, and ``kernels_cuda/line_offsets.cu`` states the same operations.

Source: the artefact that the line-wise levelling of SPM programs removes; see Nečas and Klapetek, Cent. Eur. J. Phys.
10, 181 (2012), doi:10.2478/s11534-011-0096-2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.ieee import fma
from qpibench.arithmetic.normals import normal_quad
from qpibench.arithmetic.philox import unit, words
from qpibench.arithmetic.sums import deviation
from qpibench.columns import sigma_column
from qpibench.corruptions import Draft
from qpibench.grid import Grid
from qpibench.ranges import StrengthSettings

STAGE = "image"
ORDER = 60
EXAMPLE = {"strength": [0.1, 0.5]}
Settings = StrengthSettings
COLUMNS = (sigma_column("line_offset_sigma", "the offsets of scan lines"),)


def numbers(settings: StrengthSettings, key: Callable[[str], np.uint64], grid: Grid) -> tuple[np.generic, ...]:
    """Keys of the strength and of the offsets; lower end and length of the range of the strength."""
    low, high = settings.strength
    return key("line offset strength"), key("line offsets"), np.float64(low), np.float64(high - low)


def corrupt(settings: StrengthSettings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Shift the lines of a draft's images; see :class:`qpibench.corruptions.Corruption`."""
    sigma = np.empty(len(draft), np.float32)
    drawn_by = numbers(settings, draft.key, draft.grid)
    _shift_lines(draft.start, draft.per_kernel, *drawn_by, draft.variance, draft.image, sigma)
    return {"line_offset_sigma": sigma}


def reference(clean: NDArray[np.floating], strength: ArrayLike, normals: NDArray[np.floating]) -> NDArray[np.float64]:
    """Shift the lines of images.

    Parameters
    ----------
    clean
        (..., y, x) images.
    strength
        (...) standard deviation of the offsets over that of the image.
    normals
        (..., y): independent normal numbers of mean 0 and variance 1.

    Returns
    -------
    ndarray
        (..., y, x) float64.
    """
    sigma = np.asarray(strength) * np.std(np.asarray(clean, np.float64), axis=(-2, -1))
    shifted: NDArray[np.float64] = clean + (sigma[..., None] * normals)[..., None]
    return shifted


@compiled(nogil=True, error_model="numpy")
def _shift_lines(start, per_kernel, strength_key, key, low, span, variance, image, sigma):  # type: ignore[no-untyped-def]
    """Shift the lines of ``image`` (observation, y, x) float32 and fill ``sigma`` (observation,) float32."""
    for row in range(len(image)):
        kernel, index = divmod(start + row, per_kernel)
        strength = low + unit(words(strength_key, 0, index, kernel)[0]) * span
        sigma[row] = deviation(variance[row], strength)
        lines = image[row]
        for first in range(0, len(lines), 4):
            normals = normal_quad(words(key, first // 4, index, kernel))
            for k in range(min(4, len(lines) - first)):
                line = lines[first + k]
                for x in range(len(line)):
                    line[x] = fma(sigma[row], normals[k], line[x]) + np.float32(0)
