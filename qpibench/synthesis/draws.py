"""What is drawn for a release, and how: kernel parameters, scatterer counts and positions, and for its noise.

Integers come first, then float64 with + - * / alone, so that every machine draws the same bits.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.philox import integer_between, unit, words
from qpibench.arithmetic.streams import Domain, stream_key
from qpibench.specs import ReleaseSpec

PI = math.pi


@dataclass(frozen=True, kw_only=True)
class ObservationDraws:
    """The numbers that drawing the observations of a spec needs, ready for compiled code."""

    count_key: np.uint64
    position_key: np.uint64
    per_kernel: int
    fewest: int
    most: int
    half_y_nm: float
    half_x_nm: float


def observation_draws(spec: ReleaseSpec, *, domain: Domain) -> ObservationDraws:
    """Stream keys and ranges of a spec's observations."""
    margin = spec.scatterers.margin_nm
    return ObservationDraws(
        count_key=stream_key(domain, spec.seed, "scatterer count"),
        position_key=stream_key(domain, spec.seed, "scatterer position"),
        per_kernel=spec.observations_per_kernel,
        fewest=spec.scatterers.min,
        most=spec.scatterers.max,
        half_y_nm=spec.grid.size_y_nm / 2 + margin,
        half_x_nm=spec.grid.size_x_nm / 2 + margin,
    )


@dataclass(frozen=True, kw_only=True)
class NoiseDraws:
    """The numbers that drawing the white noise of a spec needs, ready for compiled code."""

    ratio_key: np.uint64
    normal_key: np.uint64
    low_db: float
    span_db: float


def noise_draws(spec: ReleaseSpec, *, domain: Domain) -> NoiseDraws | None:
    """Stream keys and range of a spec's white noise; None if it has none."""
    if spec.white_noise is None:
        return None
    low_db, high_db = spec.white_noise.snr_db
    return NoiseDraws(
        ratio_key=stream_key(domain, spec.seed, "white noise ratio"),
        normal_key=stream_key(domain, spec.seed, "white noise"),
        low_db=low_db,
        span_db=high_db - low_db,
    )


@nb.njit(nogil=True, cache=True, error_model="numpy")
def draw_scatterers(image, kernel, count_key, position_key, fewest, most, half_y, half_x, position):  # type: ignore[no-untyped-def]
    """Draw one observation's scatterers into ``position`` (scatterer, xy), NaN behind them; return their number."""
    count = integer_between(words(count_key, 0, image, kernel)[0], fewest, most)
    for pair in range((count + 1) // 2):
        x0, y0, x1, y1 = words(position_key, pair, image, kernel)
        position[2 * pair, 0] = (2.0 * unit(x0) - 1.0) * half_x
        position[2 * pair, 1] = (2.0 * unit(y0) - 1.0) * half_y
        if 2 * pair + 1 < count:
            position[2 * pair + 1, 0] = (2.0 * unit(x1) - 1.0) * half_x
            position[2 * pair + 1, 1] = (2.0 * unit(y1) - 1.0) * half_y
    position[count:] = np.nan
    return count


@dataclass(frozen=True, kw_only=True)
class KernelDraws:
    """Parameters of eq. 7 for every kernel: fold, phi1 (rad), B (rad/nm), phi2 (rad), C (1/nm^2)."""

    fold: NDArray[np.int32]
    phi1: NDArray[np.float64]
    B: NDArray[np.float64]
    phi2: NDArray[np.float64]
    C: NDArray[np.float64]


def draw_kernels(spec: ReleaseSpec, *, domain: Domain, start: int = 0, stop: int | None = None) -> KernelDraws:
    """Draw the parameters of kernels ``start`` to ``stop``, by default those of the release.

    The sequence of kernels has no end: behind those of the release the folds repeat, and the parameters do not.
    """
    stop = spec.kernels.count if stop is None else stop
    fold = draw_folds(spec, start, stop)
    word = _kernel_words(parameter_key(spec, domain=domain), start, stop)
    uniform = (word + 0.5) * 2.0**-32
    wavelength = _between(uniform[:, 0], spec.kernels.wavelength_nm)
    decay = _between(uniform[:, 1], spec.kernels.decay_nm)
    return KernelDraws(
        fold=fold,
        phi1=np.where(fold == 0, PI / 2, PI * uniform[:, 2]),
        B=PI / wavelength,
        phi2=PI * uniform[:, 3],
        C=1.0 / (decay * decay),
    )


def parameter_key(spec: ReleaseSpec, *, domain: Domain) -> np.uint64:
    """Key of the stream of the kernels' parameters."""
    return stream_key(domain, spec.seed, "kernel parameters")


def draw_folds(spec: ReleaseSpec, start: int, stop: int) -> NDArray[np.int32]:
    """Folds of kernels ``start`` to ``stop``; no chance is involved."""
    period = _fold_period(tuple(spec.kernels.fold_shares().items()))
    fold: NDArray[np.int32] = period[np.arange(start, stop) % len(period)]
    return fold


@functools.lru_cache(maxsize=4)
def _fold_period(shares: tuple[tuple[int, int], ...]) -> NDArray[np.int32]:
    """Fold of every kernel: the folds take turns until their shares are used up, so any run of kernels is mixed."""
    fold, share = np.array(shares).T
    turn = np.concatenate([np.arange(count) for count in share])
    return np.repeat(fold, share)[np.argsort(turn, kind="stable")].astype(np.int32)


def _between(uniform: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.float64]:
    low, high = limits
    return low + uniform * (high - low)


@nb.njit(cache=True)
def _kernel_words(key, start, stop):  # type: ignore[no-untyped-def]
    table = np.empty((stop - start, 4), np.float64)
    for row in range(stop - start):
        table[row] = words(key, 0, 0, start + row)
    return table
