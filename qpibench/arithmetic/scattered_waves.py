r"""Standing waves of a 2D electron gas between many point scatterers, averaged over a tip, with defined bits.

With h_i(r) = H0(k |r - r_i|) exp(-damping |r - r_i|/2) and the matrix tau of
:func:`qpibench.arithmetic.scattering.scattering_matrix`, a band changes the relative density of states by

    Re(sum_ij h_i tau_ij h_j) / 2,    tau = (1 - s h/2)^-1 s,    s_i = alpha exp(2 i delta) - 1,

of which a tip sees the mean over its Gaussian of standard deviation w. The sum has two parts:

- A scatterer with itself: tau_ii h_i^2. The mean of h^2 is the radial function of
  :mod:`qpibench.arithmetic.standing_waves`.
- Pairs i != j. The product h_i h_j has a logarithm at either scatterer, which a lattice cannot sample. It is replaced
  by the product of smooth waves, which equal h outside the cores (see :func:`smooth_waves`). The sum over pairs is
  evaluated on a lattice that is finer than the pixels, and averaged by sums over the Gaussian along y, then x.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.bessel import j0_y0_f64
from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import exp2_f64, sincospi_f64
from qpibench.arithmetic.ieee import fma, sqrt
from qpibench.arithmetic.radial import PIECE, average, pieces, ring_length
from qpibench.arithmetic.scattering import LANES, add_pairs, pair_weights, scattering_matrix
from qpibench.arithmetic.standing_waves import (
    PI,
    ScaledTip,
    fill,
    scaled_axes,
    scaled_tip,
    squared_waves,
    waves,
)
from qpibench.arithmetic.superposition import LOG2_E, Axes

SMOOTHING = 0.5
"""Width of the Gaussian that smooths the waves, in widths of the tip along the light axis."""

PER_WIDTH, STRIDE = 8, 2
"""Radial steps of a smooth wave in its width, and how many of them a polynomial piece spans."""

SPACING = 1.5
"""Largest distance of the points of the lattice in the smallest width of a smooth wave."""

TAIL_WIDTHS = 6
"""The Gaussian of the tip is cut off at so many standard deviations."""

NEAREST = 1e-6
"""Smallest distance between scatterers times k; it keeps two at the same place apart."""


class WavesOfBand(NamedTuple):
    """A band of a kernel, for images of many scatterers.

    Attributes
    ----------
    k, damping, weight
        See :class:`qpibench.arithmetic.standing_waves.WaveBand`.
    delta, alpha
        Phase shift in rad, and amplitude of the scattered wave.
    squares
        Pieces (2, interval, 8) of the mean of h^2.
    smooth
        Pieces (interval, 8, 2) of the smooth wave, real and imaginary part.
    """

    k: float
    damping: float
    weight: float
    delta: float
    alpha: float
    squares: NDArray[np.float64]
    smooth: NDArray[np.float64]


class ScatteredWaves(NamedTuple):
    """What all images of a kernel need: its bands, the tip, the step of smooth waves in nm, and the light axis (rad).

    The distance of lattice points is at most ``spacing`` nm.
    """

    bands: tuple[WavesOfBand, ...]
    tip: ScaledTip
    width: float
    step: float
    spacing: float
    axis: float


def scattered_waves(
    bands: list[tuple[float, float, float, float, float]],
    *,
    width: float,
    mass_ratio: float,
    axis: float,
    reach_nm: tuple[float, float],
) -> ScatteredWaves:
    """Prepare the images of a kernel.

    Parameters
    ----------
    bands
        k (rad/nm), damping (1/nm), phase shift (rad), alpha and weight of each band.
    width
        Standard deviation of the Gaussian tip in nm.
    mass_ratio, axis
        Heavy over light mass, and the direction of the light mass from x in rad.
    reach_nm
        Largest offsets of a pixel from a scatterer along x and y.
    """
    tip = scaled_tip(width, mass_ratio, max(band[0] for band in bands))
    smoothing = SMOOTHING * tip.width  # in scaled coordinates; along the heavy axis smaller by the root of the ratio
    step = smoothing / PER_WIDTH
    x, y = (reach + TAIL_WIDTHS * width for reach in reach_nm)
    count = tip.steps(x, y)
    far = STRIDE * (math.ceil(math.sqrt(x * x + y * y) * tip.stretch / (STRIDE * step)) + 6)
    made = [
        WavesOfBand(
            k=k,
            damping=damping,
            weight=weight,
            delta=delta,
            alpha=alpha,
            squares=squared_waves(k, damping, tip, count),
            smooth=smooth_waves(k, damping, smoothing, far),
        )
        for k, damping, delta, alpha, weight in bands
    ]
    return ScatteredWaves(
        bands=tuple(made),
        tip=tip,
        width=width,
        step=STRIDE * step,
        spacing=SPACING * smoothing / tip.stretch,
        axis=axis,
    )


def smooth_waves(k: float, damping: float, width: float, count: int) -> NDArray[np.float64]:
    r"""Pieces (interval, 8, 2) of a smooth wave that equals h outside the core.

    With x = -(width^2/2) (Laplacian + k^2), a Gaussian average is exp(-x - k^2 width^2/2), and x h = 0 away from the
    scatterer. The smooth wave is (1 + x + x^2/2) exp(-x) h: its error, x^3/6 in leading order, is at the scatterer
    only. As (Laplacian + k^2) H0 = 4 i delta(r), the terms with x are a Gaussian times a polynomial:

        exp(k^2 width^2/2) [<h> - (i/pi) exp(-q^2/2) (3/2 - q^2/4 - k^2 width^2/4)],    q = r/width.

    With damping, k^2 in the factor before the brackets is k^2 + i k damping, as for exp(i k r - damping r/2).
    """
    nodes = scaled_tip(width, 1.0, k).nodes()
    core, ring = waves(k, damping / 2, width / PER_WIDTH, nodes, ring_length(PER_WIDTH, count))
    parts = [average(near, far, PER_WIDTH, count) for near, far in zip(core, ring, strict=True)]
    _sharpen(k * width, damping * width, *parts)
    return np.stack([pieces(np.ascontiguousarray(part[::STRIDE])) for part in parts], axis=-1)


@compiled(nogil=True)
def _sharpen(phase, damping, real, imag):  # type: ignore[no-untyped-def]
    """Turn means of a wave at steps of width/8 into the smooth wave, in place; k and damping are those times width."""
    square = phase * phase
    scale = exp2_f64((0.5 * LOG2_E) * square)
    sine, cosine = sincospi_f64(0.5 * phase * damping / PI)
    for i in range(len(real)):
        q = i / PER_WIDTH
        gauss = exp2_f64((-0.5 * LOG2_E) * (q * q))
        g, h = real[i], imag[i] - gauss * (1.5 - 0.25 * (q * q) - 0.25 * square) / PI
        real[i] = scale * (cosine * g - sine * h)
        imag[i] = scale * (cosine * h + sine * g)


def superpose_waves(
    shared: ScatteredWaves,
    axes: Axes,
    position: NDArray[np.float64],
    amplitude: NDArray[np.float32],
    image: NDArray[np.float64],
) -> None:
    """Fill ``image`` (y, x) float64 with the change of the density of states around scatterers.

    ``position`` (scatterer, xy) is in nm; ``amplitude`` (scatterer,) multiplies the T-matrix of each scatterer.
    """
    image[:] = 0.0
    along, across = (_fine(axis, shared) for axis in axes)
    pairs = np.zeros((len(across[0]), len(along[0])))
    scaled = scaled_axes(shared.axis, shared.tip.stretch)
    part = np.empty_like(image)
    for band in shared.bands:
        matrix = scattering_matrix(*_single_and_between(band[:5], amplitude, scaled, position))
        factor = 0.5 * band.weight
        for i, (x, y) in enumerate(position.tolist()):
            a, b = matrix[i, i].tolist()
            fill(a * band.squares[0] - b * band.squares[1], shared.tip, shared.axis, axes.x - x, axes.y - y, part)
            image += factor * part
        if len(position) > 1:
            at = scaled / shared.step
            _add_pairs(band.smooth, at, pair_weights(matrix), position, along[0], across[0], factor, pairs)
    if len(position) > 1:
        _add_average(across[1], across[2], along[1], along[2], pairs, image)


def _fine(pixels: NDArray[np.float64], shared: ScatteredWaves) -> tuple[NDArray[np.float64], int, NDArray[np.float64]]:
    """Lattice along one axis: coordinates in nm, points per pixel, and the tip's weights at 0, 1, ... points."""
    pitch = (pixels[-1] - pixels[0]) / (len(pixels) - 1)
    per_pixel = math.ceil(pitch / shared.spacing)
    step = pitch / per_pixel
    border = math.ceil(TAIL_WIDTHS * shared.width / step)
    points = np.arange(-border, (len(pixels) - 1) * per_pixel + border + 1, dtype=np.float64)
    coordinates: NDArray[np.float64] = pixels[0] + points * step
    return coordinates, per_pixel, _gaussian(shared.width / step, border)


@compiled(nogil=True, error_model="numpy")
def _gaussian(width, border):  # type: ignore[no-untyped-def]
    """Weights (border + 1,) of a Gaussian at 0, 1, ..., which with their opposites add up to 1."""
    weight = np.empty(border + 1)
    total = 0.0
    for j in range(border + 1):
        d = j / width
        weight[j] = exp2_f64((-0.5 * LOG2_E) * (d * d))
        total += weight[j] if j == 0 else 2.0 * weight[j]
    for j in range(border + 1):
        weight[j] = weight[j] / total
    return weight


@compiled(nogil=True, error_model="numpy")
def _single_and_between(band, amplitude, axes, position):  # type: ignore[no-untyped-def]
    """s_i (scatterer, 2) and h_ij/2 (scatterer, scatterer, 2)."""
    k, damping, _, delta, alpha = band
    count = len(position)
    sine, cosine = sincospi_f64(2.0 * delta / PI)
    single = np.empty((count, 2))
    between = np.zeros((count, count, 2))
    for i in range(count):
        factor = np.float64(amplitude[i])
        single[i, 0] = factor * (alpha * cosine - 1.0)
        single[i, 1] = factor * (alpha * sine)
        for j in range(i):
            dx, dy = position[i, 0] - position[j, 0], position[i, 1] - position[j, 1]
            u, v = axes[0] * dx + axes[1] * dy, axes[2] * dx + axes[3] * dy
            r = sqrt(u * u + v * v)
            j0, y0 = j0_y0_f64(k * r if k * r > NEAREST else NEAREST)
            decay = 0.5 * exp2_f64((-0.5 * LOG2_E * damping) * r)
            between[i, j, 0], between[i, j, 1] = decay * j0, decay * y0
            between[j, i, 0], between[j, i, 1] = between[i, j, 0], between[i, j, 1]
    return single, between


@nb.njit(inline="always")
def _complex_value(polynomials, position):  # type: ignore[no-untyped-def]
    i = np.int64(position)
    t = position - np.float64(i) - 0.5
    piece = polynomials[i]
    real, imag = piece[PIECE - 1, 0], piece[PIECE - 1, 1]
    for power in range(PIECE - 2, -1, -1):
        real = fma(real, t, piece[power, 0])
        imag = fma(imag, t, piece[power, 1])
    return real, imag


@compiled(nogil=True, error_model="numpy")
def _add_pairs(polynomials, axes, weights, position, x, y, factor, target):  # type: ignore[no-untyped-def]
    """Add the sum over pairs of different scatterers times ``factor`` to ``target`` (y, x); ``axes`` are in steps."""
    count = len(position)
    real, imag = np.zeros((count, LANES)), np.zeros((count, LANES))
    total = np.empty(LANES)
    for row in range(len(y)):
        for left in range(0, len(x), LANES):
            width = min(LANES, len(x) - left)
            for i in range(count):
                dy = y[row] - position[i, 1]
                for point in range(width):
                    dx = x[left + point] - position[i, 0]
                    u, v = axes[0] * dx + axes[1] * dy, axes[2] * dx + axes[3] * dy
                    real[i, point], imag[i, point] = _complex_value(polynomials, sqrt(u * u + v * v))
            total[:] = 0.0
            add_pairs(weights, 1, real, imag, total)
            for point in range(width):
                target[row, left + point] = fma(factor, total[point], target[row, left + point])


@compiled(nogil=True, error_model="numpy")
def _add_average(per_y, along_y, per_x, along_x, source, image):  # type: ignore[no-untyped-def]
    """Add the averages of ``source``, first along y, then along x, to the pixels of ``image``."""
    wide_y, wide_x = len(along_y) - 1, len(along_x) - 1
    line = np.empty(source.shape[1])
    for row in range(len(image)):
        line[:] = 0.0
        for j in range(-wide_y, wide_y + 1):
            weight = along_y[abs(j)]
            points = source[row * per_y + wide_y + j]
            for x in range(len(line)):
                line[x] = fma(weight, points[x], line[x])
        for column in range(image.shape[1]):
            total = 0.0
            for j in range(-wide_x, wide_x + 1):
                total = fma(along_x[abs(j)], line[column * per_x + wide_x + j], total)
            image[row, column] += total
