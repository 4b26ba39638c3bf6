r"""Line noise: 1/f noise along the scan line.

The amplifier and the junction drift slowly, so neighbouring pixels of a scan line have similar errors:

$$I(x_j, y_i) = c(x_j, y_i) + \frac{\sigma}{\sqrt{K}} \sum_{k=0}^{K-1} a^{(k)}_{ij}, \qquad
\sigma = s\, \mathrm{std}(c).$$

Each $a^{(k)}$ is an autoregressive sequence of order 1 along the line, of variance 1,

$$a_{i0} = n_{i0}, \qquad a_{ij} = \rho_k\, a_{i,j-1} + \sqrt{1 - \rho_k^2}\; n_{ij}, \qquad \rho_k = 2^{-4/2^k},$$

with independent normal numbers $n$. Its spectrum is a Lorentzian, and each is an octave slower than the one before. The
sum of $K = \lceil \log_2 n_x \rceil + 2$ of them has a spectrum close to 1/f from one period per line on: its product
with f varies by a factor of 1.2 up to half the Nyquist frequency, and of 1.7 up to the Nyquist frequency. $\sigma^2$ is
the variance of all values; a fifth of it (22 % with 64 pixels per line, 16 % with 512) is that of the lines' means. The
lines are independent; :mod:`qpibench.corruptions.line_offsets` adds to their means. The strength $s$ is uniform in its
range for each image; the standard deviation of the clean image is that of :class:`qpibench.corruptions.Draft`.

Stream ``line noise``: the four words of draw ``(k ny + i) Q + q``, Q = ceil(nx / 4), give the normal numbers of octave
k in the pixels 4q to 4q + 3 of line i. ``docs/arithmetic.md`` defines the bits, and ``kernels_cuda/line_noise.cu``
states the same operations.

Source: 1/f spectra as sums of Lorentzians, Milotti, arXiv:physics/0204033 (2002).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import exp2_f64
from qpibench.arithmetic.ieee import fma, prefer_wide_vectors, sqrt
from qpibench.arithmetic.normals import normal_pair
from qpibench.arithmetic.philox import unit, words
from qpibench.arithmetic.sums import deviation
from qpibench.columns import sigma_column
from qpibench.corruptions import Draft
from qpibench.grid import Grid
from qpibench.ranges import StrengthSettings

STAGE = "image"
ORDER = 40
EXAMPLE = {"strength": [0.2, 1.0]}
Settings = StrengthSettings
COLUMNS = (sigma_column("line_noise_sigma", "the 1/f noise along scan lines"),)

_f32 = np.float32


def octaves(nx: int) -> int:
    """Number of autoregressive sequences for lines of ``nx`` pixels."""
    return (nx - 1).bit_length() + 2


def numbers(settings: StrengthSettings, key: Callable[[str], np.uint64], grid: Grid) -> tuple[np.generic, ...]:
    """Keys of the strength and of the noise; lower end and length of the range of the strength; octaves."""
    low, high = settings.strength
    keys = key("line noise strength"), key("line noise")
    return *keys, np.float64(low), np.float64(high - low), np.int32(octaves(grid.nx))


def corrupt(settings: StrengthSettings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Add 1/f noise to the images of a draft; see :class:`qpibench.corruptions.Corruption`."""
    sigma = np.empty(len(draft), np.float32)
    drawn_by = numbers(settings, draft.key, draft.grid)
    _add_line_noise(draft.start, draft.per_kernel, *drawn_by, draft.variance, draft.image, sigma)
    return {"line_noise_sigma": sigma}


def reference(clean: NDArray[np.floating], strength: ArrayLike, normals: NDArray[np.floating]) -> NDArray[np.float64]:
    """Add 1/f noise along the lines of images.

    Parameters
    ----------
    clean
        (..., y, x) images.
    strength
        (...) standard deviation of the noise over that of the image.
    normals
        (octave, ..., y, x): independent normal numbers of mean 0 and variance 1.

    Returns
    -------
    ndarray
        (..., y, x) float64.
    """
    noise = np.zeros(normals.shape[1:])
    for k, drawn in enumerate(np.asarray(normals, np.float64)):
        rho = 2 ** (-4 / 2**k)
        value = drawn[..., 0]
        noise[..., 0] += value
        for j in range(1, drawn.shape[-1]):
            value = rho * value + np.sqrt(1 - rho**2) * drawn[..., j]
            noise[..., j] += value
    sigma = np.asarray(strength) * np.std(np.asarray(clean, np.float64), axis=(-2, -1))
    noisy: NDArray[np.float64] = clean + sigma[..., None, None] / np.sqrt(len(normals)) * noise
    return noisy


@compiled(nogil=True, error_model="numpy")
def _add_line_noise(  # type: ignore[no-untyped-def]
    start, per_kernel, strength_key, key, low, span, count, variance, image, sigma
):
    """Add 1/f noise to ``image`` (observation, y, x) float32 and fill ``sigma`` (observation,) float32."""
    prefer_wide_vectors()  # type: ignore[call-arg]
    ny, nx = image.shape[1:]
    quads = (nx + 3) // 4
    drawn = np.empty((4, quads), np.uint32)
    normal = np.empty((4, quads), np.float32)
    noise = np.empty(nx, np.float32)
    rho, step = np.empty(count, np.float32), np.empty(count, np.float32)
    for k in range(count):
        exact = exp2_f64(-4.0 / np.float64(1 << k))
        rho[k] = _f32(exact)
        step[k] = _f32(sqrt(1.0 - exact * exact))
    for row in range(len(image)):
        kernel, index = divmod(start + row, per_kernel)
        strength = low + unit(words(strength_key, 0, index, kernel)[0]) * span
        sigma[row] = deviation(variance[row], strength)
        factor = _f32(np.float64(sigma[row]) / sqrt(np.float64(count)))
        for iy in range(ny):
            noise[:] = _f32(0)
            for k in range(count):
                first = (k * ny + iy) * quads
                for q in range(quads):
                    drawn[0, q], drawn[1, q], drawn[2, q], drawn[3, q] = words(key, first + q, index, kernel)
                for pair in range(0, 4, 2):
                    for q in range(quads):
                        normal[pair, q], normal[pair + 1, q] = normal_pair(drawn[pair, q], drawn[pair + 1, q])
                value = normal[0, 0]
                noise[0] += value
                for x in range(1, nx):
                    value = fma(rho[k], value, step[k] * normal[x & 3, x >> 2])
                    noise[x] += value
            for x in range(nx):
                image[row, iy, x] = fma(factor, noise[x], image[row, iy, x]) + _f32(0)
