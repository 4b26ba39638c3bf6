r"""White noise: normal and independent in all pixels of all images.

An image of the clean values $c$ becomes

$$I(x, y) = c(x, y) + \sigma\, n(x, y),$$

with independent normal numbers $n$ of mean 0 and variance 1. The strength is stated in one of two ways. Either the
signal-to-noise ratio in dB is drawn, and with the variance of the clean image

$$\sigma^2 = \operatorname{var}(c)\, 10^{-\mathrm{SNR}/10};$$

or the ratio $\rho$ of sigma to the root mean square of the kernel's image is drawn, and
$\sigma = \rho\, \mathrm{rms}(A)$, so that all images of a kernel have the same noise at the same ratio. An image
without contrast (a variance below ``VARIANCE_FLOOR``, such as that of a constant) has no signal-to-noise ratio, and
``snr_db`` adds no noise to it.

The variance is that of :class:`qpibench.corruptions.Draft`. Normal numbers are float32, by Box-Muller. With
Q = ceil(pixels / 4), the four words of draw q give the numbers of the pixels q and q + Q, and of q + 2 Q and q + 3 Q.
The sum of clean image and noise is rounded once. ``kernels_cuda/white_noise.cu`` states the same operations in the
same order, ``docs/arithmetic.md`` defines their bits, and the ``reference`` functions here compute the same in float64
NumPy.

Source: the definition of the ratio is the usual one of signal processing. For its use with QPI maps see Cheung et al.,
Nat. Commun. 11, 1081 (2020), doi:10.1038/s41467-020-14633-1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Self

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import exp2_f64, minus2ln_f32
from qpibench.arithmetic.ieee import fma, prefer_wide_vectors, sqrt
from qpibench.arithmetic.normals import normal_pair
from qpibench.arithmetic.philox import unit, words
from qpibench.arithmetic.sums import VARIANCE_FLOOR, deviation, root_mean_squares
from qpibench.columns import Column, sigma_column
from qpibench.corruptions import Draft
from qpibench.grid import Grid
from qpibench.ranges import RISING, UNSIGNED_ZERO, one_or_two

STAGE = "image"
ORDER = 30
EXAMPLE = {"snr_db": [0.0, 20.0]}

MIN_SNR_DB = -40.0
MAX_SNR_DB = 100.0
MAX_RATIO = 1000.0


Decibel = Annotated[float, Field(ge=MIN_SNR_DB, le=MAX_SNR_DB, allow_inf_nan=False), UNSIGNED_ZERO]
Ratio = Annotated[float, Field(ge=0, le=MAX_RATIO, allow_inf_nan=False), UNSIGNED_ZERO]


class Settings(BaseModel):
    """Settings of white noise: exactly one of the two.

    Either is a range, from which a number is drawn uniformly for each image, or a single number for all images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    snr_db: Annotated[tuple[Decibel, Decibel], RISING, one_or_two("a ratio in dB", Decibel)] | None = Field(
        default=None,
        description="signal-to-noise ratio, 10 log10(variance of the clean image / variance of the noise)",
    )
    sigma_over_kernel_rms: Annotated[tuple[Ratio, Ratio], RISING, one_or_two("a ratio", Ratio)] | None = Field(
        default=None,
        description="instead of snr_db: standard deviation of the noise over the rms of the kernel's image",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.snr_db is None) == (self.sigma_over_kernel_rms is None):
            given = "neither is given" if self.snr_db is None else "both are given"
            raise ValueError(
                f"needs either snr_db (-40 to 100 dB) or sigma_over_kernel_rms (0 to {MAX_RATIO:g}), and {given}"
            )
        return self


COLUMNS = (
    Column(
        name="snr_db",
        dtype="<f8",
        per="observation",
        units="dB",
        long_name="variance of the clean image over that of its noise",
        absent=math.inf,
    ),
    sigma_column("noise_sigma", "the noise"),
    Column(
        name="noise_over_kernel_rms",
        dtype="<f4",
        per="observation",
        units="1",
        long_name="noise_sigma over the root mean square of the kernel's image, NaN where that is 0",
        absent=0.0,
        in_streams=False,
    ),
)

_LOG2_PER_DB = -0.33219280948873623  # log2(10) / 10: the noise's share of the variance is 10^(-dB/10)
_DB_PER_MINUS2LN = -4.342944819032518  # -10 / ln 10
_QUADS = 256
_f32 = np.float32


def needs_kernel_rms(settings: Settings) -> bool:
    """Whether the strength is stated by the kernel's rms."""
    return settings.snr_db is None


def numbers(settings: Settings, key: Callable[[str], np.uint64], grid: Grid) -> tuple[np.generic, ...]:
    """Keys of the ratio and of the normal numbers, whether the ratio is that to the rms, and its lower end and span."""
    low, high = settings.snr_db or settings.sigma_over_kernel_rms or (0.0, 0.0)
    of_rms = np.int32(needs_kernel_rms(settings))
    return key("white noise ratio"), key("white noise"), of_rms, np.float64(low), np.float64(high - low)


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Add noise to the images of a draft; see :class:`qpibench.corruptions.Corruption`."""
    snr_db = np.empty(len(draft), np.float64)
    sigma = np.empty(len(draft), np.float32)
    drawn_by = numbers(settings, draft.key, draft.grid)
    signal = draft.variance, draft.kernel_rms
    _add_white_noise(draft.start, draft.per_kernel, *drawn_by, *signal, draft.image, snr_db, sigma)
    return {"snr_db": snr_db, "noise_sigma": sigma}


def compare_with_kernels(
    columns: dict[str, NDArray[Any]], row: NDArray[np.integer], kernel_image: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    """Noise over the root mean square of the kernel; see :class:`qpibench.corruptions.ComparedWithKernels`."""
    ratio, rms = np.empty(len(row), np.float32), np.empty(len(kernel_image), np.float64)
    root_mean_squares(kernel_image, rms)
    _over_rms(columns["noise_sigma"], row, rms, ratio)
    return {"noise_over_kernel_rms": ratio}


def reference_sigma(clean: NDArray[np.floating], snr_db: ArrayLike) -> NDArray[np.float64]:
    """Standard deviation of the noise that gives an image a signal-to-noise ratio.

    Parameters
    ----------
    clean
        (..., y, x) images.
    snr_db
        (...) ratios in dB.

    Returns
    -------
    ndarray
        (...) float64: sqrt(var(clean) 10^(-snr_db / 10)), 0 for an image without contrast.
    """
    variance = np.var(np.asarray(clean, np.float64), axis=(-2, -1))
    sigma: NDArray[np.float64] = np.sqrt(variance * 10 ** (-np.asarray(snr_db) / 10))
    return sigma


def reference(clean: NDArray[np.floating], snr_db: ArrayLike, normals: NDArray[np.floating]) -> NDArray[np.float64]:
    """Add noise to images.

    Parameters
    ----------
    clean, snr_db
        See :func:`reference_sigma`.
    normals
        (..., y, x): independent normal numbers of mean 0 and variance 1.

    Returns
    -------
    ndarray
        (..., y, x) float64.
    """
    noisy: NDArray[np.float64] = np.add(
        clean, reference_sigma(clean, snr_db)[..., None, None] * normals, dtype=np.float64
    )
    return noisy


@compiled(nogil=True, error_model="numpy")
def _add_white_noise(  # type: ignore[no-untyped-def]
    start, per_kernel, ratio_key, normal_key, of_rms, low, span, variance, kernel_rms, image, snr_db, sigma
):
    """Add noise to every row of ``image`` (observation, y, x) float32, the observations from ``start`` on.

    The ratios are uniform from ``low`` on: of ``sigma`` to ``kernel_rms`` if ``of_rms``, or in dB. ``variance`` and
    ``kernel_rms`` are those of a draft. Fills ``snr_db`` (observation,) float64 with the ratios in dB, and ``sigma``
    (observation,) float32 with the standard deviations of the noise.
    """
    for row in range(len(image)):
        kernel, index = divmod(start + row, per_kernel)
        ratio = low + unit(words(ratio_key, 0, index, kernel)[0]) * span
        if of_rms != 0:
            sigma[row] = deviation(kernel_rms[row] * kernel_rms[row], ratio)
            snr_db[row] = _decibels(variance[row], sigma[row])
        else:
            sigma[row] = _f32(0)
            if variance[row] >= VARIANCE_FLOOR:
                sigma[row] = _f32(sqrt(variance[row] * exp2_f64(ratio * _LOG2_PER_DB)))
            snr_db[row] = ratio
        _add_normals(normal_key, index, kernel, sigma[row], image[row].reshape(-1))


@nb.njit
def _decibels(variance, sigma):  # type: ignore[no-untyped-def]
    """10 log10(variance / sigma^2) with the accuracy of float32: inf without noise, -inf without contrast."""
    if sigma == _f32(0):
        return np.inf
    if variance < VARIANCE_FLOOR:
        return -np.inf
    return _DB_PER_MINUS2LN * np.float64(minus2ln_f32(_f32(sqrt(variance) / np.float64(sigma))))


@compiled(nogil=True, error_model="numpy")
def _over_rms(sigma, row, rms, ratio):  # type: ignore[no-untyped-def]
    """Fill ``ratio`` (observation,) float32 with ``sigma`` over ``rms`` (kernel,) of its row; NaN if that is 0."""
    for k in range(len(sigma)):
        ratio[k] = _f32(sigma[k] / rms[row[k]]) if rms[row[k]] > 0.0 else _f32(np.nan)


@nb.njit(inline="always")
def _add_normals(key, index, kernel, sigma, pixels):  # type: ignore[no-untyped-def]
    prefer_wide_vectors()  # type: ignore[call-arg]
    quarter = (len(pixels) + 3) // 4
    drawn = np.empty((4, _QUADS), np.uint32)
    normal = np.empty((4, _QUADS), np.float32)
    for first in range(0, quarter, _QUADS):
        for k in range(_QUADS):
            drawn[0, k], drawn[1, k], drawn[2, k], drawn[3, k] = words(key, first + k, index, kernel)
        for pair in range(0, 4, 2):
            for k in range(_QUADS):
                normal[pair, k], normal[pair + 1, k] = normal_pair(drawn[pair, k], drawn[pair + 1, k])
        for place in range(4):
            begin = place * quarter + first
            for k in range(min(_QUADS, quarter - first, len(pixels) - begin)):
                # Adding +0 turns -0 into +0, which the hash requires.
                pixels[begin + k] = fma(sigma, normal[place, k], pixels[begin + k]) + _f32(0)
