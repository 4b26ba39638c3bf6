"""White noise at a given signal-to-noise ratio: normal and independent in all pixels of all images.

The ratio in dB is 10 log10(var(clean image) / noise variance), where the variance of an image is that of its pixels
about their mean. ``docs/arithmetic.md`` defines the bits of noisy images, which are the same on both backends:

The variance of the clean image is a sum in a fixed tree, in float64. Pixel k of the flat image, row by row, belongs to
lane k mod ``LANES``. Each lane adds its pixels in order. Then, for widths 128, 64, ..., 1, the value of lane i + width
is added to lane i. One such sum gives the mean, and a second one the sum of the squared deviations.

Normal numbers are float32, by Box-Muller. With Q = ceil(pixels / 4), the four words of draw q give the numbers of the
pixels q and q + Q, and of q + 2 Q and q + 3 Q. The sum of clean image and noise is rounded once. ``kernels_cuda/``
states the same operations in the same order. The ``reference`` functions here compute the same in float64 NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import exp2_f64
from qpibench.arithmetic.ieee import fma, prefer_wide_vectors, sqrt
from qpibench.arithmetic.normals import normal_pair
from qpibench.arithmetic.philox import unit, words
from qpibench.columns import Column
from qpibench.corruptions import Draft
from qpibench.parsing import shown
from qpibench.ranges import RISING

STAGE = "image"
ORDER = 80
EXAMPLE = {"snr_db": [0.0, 20.0]}

MIN_SNR_DB = -40.0
MAX_SNR_DB = 100.0


def _range(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(value)
    raise ValueError(f"expected a ratio in dB or a range [low, high], found {shown(value)}")


# Adding 0 turns -0 into 0: both are the same ratio, but their specs would have different hashes.
Decibel = Annotated[
    float, Field(ge=MIN_SNR_DB, le=MAX_SNR_DB, allow_inf_nan=False), AfterValidator(lambda value: value + 0.0)
]


class Settings(BaseModel):
    """Settings of white noise.

    ``snr_db`` is the range of the signal-to-noise ratio 10 log10(variance of the clean image / variance of the noise).
    The ratio is drawn uniformly in dB for each image. A single number is a ratio for all images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    snr_db: Annotated[
        tuple[Decibel, Decibel],
        RISING,
        BeforeValidator(_range, json_schema_input_type=Decibel | tuple[Decibel, Decibel]),
    ] = Field(description="signal-to-noise ratio, 10 log10(variance of the clean image / variance of the noise)")


COLUMNS = (
    Column(
        name="snr_db",
        dtype="<f8",
        per="observation",
        units="dB",
        long_name="variance of the clean image over that of its noise",
        absent=math.inf,
    ),
    Column(
        name="noise_sigma",
        dtype="<f4",
        per="observation",
        units="1",
        long_name="standard deviation of the noise in the image",
        absent=0.0,
    ),
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

LANES = 256

VARIANCE_FLOOR = 2.0**-120
"""An image with less variance gets no noise, on every backend, so that no product is denormal."""

_LOG2_PER_DB = -0.33219280948873623  # log2(10) / 10: the noise's share of the variance is 10^(-dB/10)
_QUADS = 256
_f32 = np.float32


def numbers(settings: Settings, key: Callable[[str], np.uint64]) -> tuple[np.generic, ...]:
    """Keys of the streams of the ratio and of the normal numbers; lower end and length of the range in dB."""
    low_db, high_db = settings.snr_db
    return key("white noise ratio"), key("white noise"), np.float64(low_db), np.float64(high_db - low_db)


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Add noise to the images of a draft; see :class:`qpibench.corruptions.Corruption`."""
    snr_db = np.empty(len(draft), np.float64)
    sigma = np.empty(len(draft), np.float32)
    drawn_by = numbers(settings, draft.key)
    _add_white_noise(draft.start, draft.per_kernel, *drawn_by, draft.image, snr_db, sigma)
    return {"snr_db": snr_db, "noise_sigma": sigma}


def compare_with_kernels(
    columns: dict[str, NDArray[Any]], row: NDArray[np.integer], kernel_image: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    """Noise over the root mean square of the kernel; see :class:`qpibench.corruptions.ComparedWithKernels`."""
    ratio = np.empty(len(row), np.float32)
    _over_rms(columns["noise_sigma"], row, kernel_image, ratio)
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
def _add_white_noise(start, per_kernel, ratio_key, normal_key, low_db, span_db, image, snr_db, sigma):  # type: ignore[no-untyped-def]
    """Add noise to every row of ``image`` (observation, y, x) float32, the clean observations from ``start`` on.

    Fills ``snr_db`` (observation,) float64 with the ratios, uniform from ``low_db`` on, and ``sigma`` (observation,)
    float32 with the standard deviations of the noise.
    """
    for row in range(len(image)):
        kernel, index = divmod(start + row, per_kernel)
        snr_db[row] = low_db + unit(words(ratio_key, 0, index, kernel)[0]) * span_db
        pixels = image[row].reshape(-1)
        variance = _variance(pixels)
        share = exp2_f64(snr_db[row] * _LOG2_PER_DB)
        sigma[row] = _f32(0) if variance < VARIANCE_FLOOR else _f32(sqrt(variance * share))
        _add_normals(normal_key, index, kernel, sigma[row], pixels)


@compiled(nogil=True, error_model="numpy")
def _over_rms(sigma, row, image, ratio):  # type: ignore[no-untyped-def]
    """Fill ``ratio`` (observation,) float32 with ``sigma`` over the rms of image ``row``; NaN if the rms is 0.

    ``row`` (observation,) is a row of ``image`` (kernel, y, x) float32. The mean is a sum in the tree of the variance.
    """
    rms = np.empty(len(image), np.float64)
    for kernel in range(len(image)):
        pixels = image[kernel].reshape(-1)
        rms[kernel] = sqrt(_sum_of_squares(pixels, 0.0) / len(pixels))
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


@nb.njit(inline="always")
def _variance(pixels):  # type: ignore[no-untyped-def]
    lanes = np.zeros(LANES, np.float64)
    whole = len(pixels) // LANES * LANES
    for first in range(0, whole, LANES):
        for k in range(LANES):
            lanes[k] += np.float64(pixels[first + k])
    for k in range(len(pixels) - whole):
        lanes[k] += np.float64(pixels[whole + k])
    return _sum_of_squares(pixels, _tree_sum(lanes) / len(pixels)) / len(pixels)


@nb.njit(inline="always")
def _sum_of_squares(pixels, mean):  # type: ignore[no-untyped-def]
    lanes = np.zeros(LANES, np.float64)
    whole = len(pixels) // LANES * LANES
    for first in range(0, whole, LANES):
        for k in range(LANES):
            deviation = np.float64(pixels[first + k]) - mean
            lanes[k] = fma(deviation, deviation, lanes[k])
    for k in range(len(pixels) - whole):
        deviation = np.float64(pixels[whole + k]) - mean
        lanes[k] = fma(deviation, deviation, lanes[k])
    return _tree_sum(lanes)


@nb.njit(inline="always")
def _tree_sum(lanes):  # type: ignore[no-untyped-def]
    width = LANES // 2
    while width > 0:
        for k in range(width):
            lanes[k] += lanes[k + width]
        width //= 2
    return lanes[0]
