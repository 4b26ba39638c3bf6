"""Standing waves of a 2D electron gas around a point scatterer, averaged over a tip, with defined bits.

:mod:`qpibench.families.surface_state` states the formula. It is evaluated along the radius, averaged over the tip, and
looked up at the offsets of a lattice. An elliptic band is round in scaled coordinates, where a round tip is an ellipse.
The radial average takes the ellipse's smaller width; a trapezoidal sum along the heavy axis adds the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.bessel import j0_y0_f64
from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import exp2_f64, sincospi_f64
from qpibench.arithmetic.radial import (
    average,
    core_nodes,
    fill_elliptic,
    fill_round,
    gaussian_line,
    pieces,
    ring_length,
)
from qpibench.arithmetic.superposition import LOG2_E

PI = math.pi

STEPS_PER_PERIOD = 64
STEPS_PER_WIDTH = 8
"""Least number of radial steps in pi/k and in the tip's width, so that pieces of degree 7 have errors below 1e-8."""

LINE_SPACING = 0.9
"""Distance of the points of the sum along the heavy axis, in units of the widths added in parallel."""


class WaveBand(NamedTuple):
    """A band: wavevector in rad/nm, inverse decay length in 1/nm, phase shift (rad, amplitude), and factor."""

    k: float
    damping: float
    delta: float
    alpha: float
    weight: float


def standing_waves(
    bands: Sequence[WaveBand],
    *,
    width: float,
    mass_ratio: float,
    axis: float,
    dx_nm: NDArray[np.float64],
    dy_nm: NDArray[np.float64],
    image: NDArray[np.float64],
) -> None:
    """Fill ``image`` (dy, dx) with the sum of the bands at all pairs of offsets.

    Parameters
    ----------
    bands
        One or more bands.
    width
        Standard deviation of the Gaussian tip in nm.
    mass_ratio
        Heavy over light mass, at least 1.
    axis
        Direction of the light mass from x in rad.
    dx_nm, dy_nm
        Offsets in nm.
    image
        float64.
    """
    tip = scaled_tip(width, mass_ratio, max(band.k for band in bands))
    count = tip.steps(float(np.abs(dx_nm).max()), float(np.abs(dy_nm).max()))
    core, ring = _changes(_factors(np.array(bands)), tip.step, tip.nodes(), ring_length(tip.per_width, count))
    fill(pieces(average(core, ring, tip.per_width, count)), tip, axis, dx_nm, dy_nm, image)


class ScaledTip(NamedTuple):
    """The tip of an elliptic band in scaled coordinates, where the band is round.

    Its standard deviation along the light axis is ``width``, which is ``per_width`` steps of ``step`` nm. What is left
    of it along the heavy axis is a sum over points at the distances ``shift`` (steps) with the weights ``weight``.
    ``stretch`` is the fourth root of the mass ratio.
    """

    width: float
    per_width: int
    step: float
    stretch: float
    shift: NDArray[np.float64]
    weight: NDArray[np.float64]

    def nodes(self) -> NDArray[np.float64]:
        """Distances in nm near the scatterer that the average needs."""
        nodes: NDArray[np.float64] = core_nodes() * self.width
        return nodes

    def steps(self, x_nm: float, y_nm: float) -> int:
        """Number of radial steps that offsets up to these need."""
        return math.ceil(math.sqrt(x_nm * x_nm + y_nm * y_nm) * self.stretch / self.step + float(self.shift[-1])) + 6


def scaled_tip(width: float, mass_ratio: float, k: float) -> ScaledTip:
    """The scaled tip of a round one of the standard deviation ``width`` nm, for waves of at most k rad/nm."""
    stretch = math.sqrt(math.sqrt(mass_ratio))
    width = width / stretch
    per_width = max(STEPS_PER_WIDTH, math.ceil(STEPS_PER_PERIOD * width * k / PI))
    shift, weight = _line(per_width * math.sqrt(mass_ratio - 1.0), float(per_width))
    return ScaledTip(width, per_width, width / per_width, stretch, shift, weight)


def fill(
    polynomials: NDArray[np.float64],
    tip: ScaledTip,
    axis: float,
    dx_nm: NDArray[np.float64],
    dy_nm: NDArray[np.float64],
    image: NDArray[np.float64],
) -> None:
    """Fill ``image`` (dy, dx) with a radial function whose pieces are in steps of a tip, seen by the tip."""
    if len(tip.shift) == 1:
        fill_round(polynomials, dx_nm / tip.step, dy_nm / tip.step, image)
    else:
        scaled = scaled_axes(axis, tip.stretch)
        fill_elliptic(polynomials, scaled, tip.shift, tip.weight, dx_nm / tip.step, dy_nm / tip.step, image)


def _line(rest: float, width: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and weights along the heavy axis for the rest of the tip, after an average over ``width``."""
    if rest == 0:
        return np.zeros(1), np.ones(1)
    points: tuple[NDArray[np.float64], NDArray[np.float64]] = gaussian_line(
        rest, LINE_SPACING * rest * width / math.sqrt(rest * rest + width * width)
    )
    return points


@compiled(nogil=True)
def scaled_axes(axis, stretch):  # type: ignore[no-untyped-def]
    """Scaled coordinates u (light) and v (heavy): two factors each, of dx and dy."""
    sine, cosine = sincospi_f64(axis / PI)
    return np.array([cosine / stretch, sine / stretch, -sine * stretch, cosine * stretch])


@compiled(nogil=True, error_model="numpy")
def _factors(bands):  # type: ignore[no-untyped-def]
    """Rows k, damping, factor of J0^2 - Y0^2 and factor of -J0 Y0 of the change of the density of states, by band."""
    rows = np.empty((len(bands), 4))
    for band in range(len(bands)):
        k, damping, delta, alpha, factor = bands[band]
        sine, cosine = sincospi_f64(2.0 * delta / PI)
        rows[band, 0], rows[band, 1] = k, damping
        rows[band, 2] = 0.5 * factor * (alpha * cosine - 1.0)
        rows[band, 3] = factor * (alpha * sine)
    return rows


@compiled(nogil=True, error_model="numpy")
def _changes(rows, step, core, count):  # type: ignore[no-untyped-def]
    """Sum over rows at the distances ``core`` and at ``count`` steps; the first, at 0, is left 0."""
    near = np.zeros(len(core))
    ring = np.zeros(count)
    for band in range(len(rows)):
        k, damping, even, odd = rows[band]
        for i in range(len(core) + count - 1):
            far = i - len(core) + 1
            r = core[i] if far < 1 else far * step
            j0, y0 = j0_y0_f64(k * r)
            value = (even * (j0 * j0 - y0 * y0) - odd * (j0 * y0)) * exp2_f64((-LOG2_E * damping) * r)
            if far < 1:
                near[i] += value
            else:
                ring[far] += value
    return near, ring


def squared_waves(k: float, damping: float, tip: ScaledTip, count: int) -> NDArray[np.float64]:
    """Pieces (2, interval, 8) of the real and the imaginary part of H0(k r)^2 exp(-damping r), averaged over a tip."""
    parts = []
    for even, odd in ((1.0, 0.0), (0.0, -2.0)):
        rows = np.array([[k, damping, even, odd]])
        core, ring = _changes(rows, tip.step, tip.nodes(), ring_length(tip.per_width, count))
        parts.append(pieces(average(core, ring, tip.per_width, count)))
    return np.stack(parts)


@compiled(nogil=True, error_model="numpy")
def waves(k, damping, step, core, count):  # type: ignore[no-untyped-def]
    """H0(k r) exp(-damping r): real and imaginary part (2, ...) at the distances ``core`` and at ``count`` steps.

    The values of the first step, at 0, are left 0.
    """
    near = np.zeros((2, len(core)))
    ring = np.zeros((2, count))
    for i in range(len(core) + count - 1):
        far = i - len(core) + 1
        r = core[i] if far < 1 else far * step
        j0, y0 = j0_y0_f64(k * r)
        decay = exp2_f64((-LOG2_E * damping) * r)
        if far < 1:
            near[0, i], near[1, i] = j0 * decay, y0 * decay
        else:
            ring[0, far], ring[1, far] = j0 * decay, y0 * decay
    return near, ring
