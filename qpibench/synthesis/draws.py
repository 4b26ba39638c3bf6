"""Random draws of a release: the parameters of its kernels, and the numbers and positions of scatterers.

Random words are integers, and only + - * / in float64 are applied to them, so every machine draws the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numba as nb
import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.philox import integer_between, unit, words
from qpibench.arithmetic.streams import Domain, stream_key
from qpibench.families import Numbered, get_family
from qpibench.specs import ReleaseSpec


class ScattererDraws(NamedTuple):
    """Keys of the streams, and ranges, from which the scatterers of a spec are drawn."""

    count_key: np.uint64
    position_key: np.uint64
    per_kernel: int
    fewest: int
    most: int
    half_y_nm: float
    half_x_nm: float


def scatterer_draws(spec: ReleaseSpec, *, domain: Domain) -> ScattererDraws:
    """Stream keys and ranges of a spec's scatterers."""
    margin = spec.scatterers.margin_nm
    return ScattererDraws(
        count_key=stream_key(domain, spec.seed, "scatterer count"),
        position_key=stream_key(domain, spec.seed, "scatterer position"),
        per_kernel=spec.observations_per_kernel,
        fewest=spec.scatterers.min,
        most=spec.scatterers.max,
        half_y_nm=spec.grid.size_y_nm / 2 + margin,
        half_x_nm=spec.grid.size_x_nm / 2 + margin,
    )


@compiled(nogil=True, error_model="numpy")
def draw_scatterers(draws, start, n_scatterers, position):  # type: ignore[no-untyped-def]
    """Draw the scatterers of observations from ``start`` on.

    Fills ``n_scatterers`` (observation,) int32 and ``position`` (observation, scatterer, xy) float64 in nm, NaN after
    the last.
    """
    for row in range(len(position)):
        kernel, image = divmod(start + row, draws.per_kernel)
        count = integer_between(words(draws.count_key, 0, image, kernel)[0], draws.fewest, draws.most)
        places = position[row]
        for pair in range((count + 1) // 2):
            x0, y0, x1, y1 = words(draws.position_key, pair, image, kernel)
            places[2 * pair, 0] = (2.0 * unit(x0) - 1.0) * draws.half_x_nm
            places[2 * pair, 1] = (2.0 * unit(y0) - 1.0) * draws.half_y_nm
            if 2 * pair + 1 < count:
                places[2 * pair + 1, 0] = (2.0 * unit(x1) - 1.0) * draws.half_x_nm
                places[2 * pair + 1, 1] = (2.0 * unit(y1) - 1.0) * draws.half_y_nm
        places[count:] = np.nan
        n_scatterers[row] = count


ATTEMPTS = 64
"""How often a scatterer is drawn again; at least half of the draws are accepted, so one in 2^64 needs more."""


@compiled(nogil=True, error_model="numpy")
def keep_apart(draws, key, separation, start, n_scatterers, position):  # type: ignore[no-untyped-def]
    """Draw scatterers again that are closer than ``separation`` (nm) to an earlier one of their image.

    The scatterers of an image take turns. Draw ``ATTEMPTS k + a`` of the stream has the words of attempt a of
    scatterer k. Returns the number of scatterers that are still too close.
    """
    nearest = separation * separation
    failed = 0
    for row in range(len(position)):
        kernel, image = divmod(start + row, draws.per_kernel)
        places = position[row]
        for k in range(1, n_scatterers[row]):
            attempt = 0
            while _is_near(places, k, nearest):
                if attempt == ATTEMPTS:
                    failed += 1
                    break
                x, y, _, _ = words(key, ATTEMPTS * k + attempt, image, kernel)
                places[k, 0] = (2.0 * unit(x) - 1.0) * draws.half_x_nm
                places[k, 1] = (2.0 * unit(y) - 1.0) * draws.half_y_nm
                attempt += 1
    return failed


@nb.njit(inline="always")
def _is_near(places, k, nearest):  # type: ignore[no-untyped-def]
    for other in range(k):
        dx, dy = places[k, 0] - places[other, 0], places[k, 1] - places[other, 1]
        if dx * dx + dy * dy < nearest:
            return True
    return False


def draw_parameters(
    spec: ReleaseSpec,
    *,
    domain: Domain,
    start: int = 0,
    stop: int | None = None,
    attempt: int = 0,
    of_second: bool = False,
) -> dict[str, NDArray[Any]]:
    """Draw the parameters of kernels ``start`` to ``stop``, by default all of the release; columns by name.

    The sequence of kernels is endless: after the kernels of the release the strata repeat, the parameters do not.

    Parameters
    ----------
    spec, domain, start, stop
        The spec, the domain of the random numbers, and the kernels.
    attempt
        Number of the draw; two species may need several.
    of_second
        Whether the kernels are those of the second species; see :class:`qpibench.families.OfScatterer`.
    """
    stop = spec.kernels.count if stop is None else stop
    family = get_family(spec.kernels.family)
    uniform = uniforms(parameter_key(spec, domain=domain), family.UNIFORMS, start, stop, attempt=attempt)
    if of_second:
        key = stream_key(domain, spec.seed, "second species parameters")
        own = [*getattr(family, "OF_SCATTERER", range(family.UNIFORMS))]
        uniform[:, own] = uniforms(key, family.UNIFORMS, start, stop, attempt=attempt)[:, own]
    columns = family.parameters(spec.kernels, family.strata(spec.kernels, start, stop), uniform)
    return cast(Numbered, family).numbered(spec.kernels, columns, start) if hasattr(family, "numbered") else columns


def parameter_key(spec: ReleaseSpec, *, domain: Domain) -> np.uint64:
    """Key of the stream of the kernels' parameters."""
    return stream_key(domain, spec.seed, "kernel parameters")


def uniforms(key: np.uint64, count: int, start: int, stop: int, *, attempt: int = 0) -> NDArray[np.float64]:
    """Uniform random numbers of the kernels ``start`` to ``stop``, (kernel, count).

    Attempt t has the draws t b to t b + b - 1 of the stream, where b draws have ``count`` words.
    """
    blocks = -(-count // 4)
    drawn: NDArray[np.float64] = (_kernel_words(key, attempt * blocks, blocks, start, stop) + 0.5) * 2.0**-32
    return drawn[:, :count]


@compiled()
def _kernel_words(key, first, blocks, start, stop):  # type: ignore[no-untyped-def]
    table = np.empty((stop - start, 4 * blocks), np.float64)
    for row in range(stop - start):
        for block in range(blocks):
            drawn = words(key, first + block, 0, start + row)
            for k in range(4):
                table[row, 4 * block + k] = drawn[k]
    return table
