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
    stretch = math.sqrt(math.sqrt(mass_ratio))
    width = width / stretch
    per_width = max(STEPS_PER_WIDTH, math.ceil(STEPS_PER_PERIOD * width * max(band.k for band in bands) / PI))
    step = width / per_width
    shift, weight = _line(per_width * math.sqrt(mass_ratio - 1.0), float(per_width))
    x, y = float(np.abs(dx_nm).max()), float(np.abs(dy_nm).max())
    count = math.ceil(math.sqrt(x * x + y * y) * stretch / step + float(shift[-1])) + 6
    core, ring = _changes(np.array(bands), step, core_nodes() * width, ring_length(per_width, count))
    polynomials = pieces(average(core, ring, per_width, count))
    if mass_ratio == 1:
        fill_round(polynomials, dx_nm / step, dy_nm / step, image)
    else:
        fill_elliptic(polynomials, _axes(axis, stretch), shift, weight, dx_nm / step, dy_nm / step, image)


def _line(rest: float, width: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and weights along the heavy axis for the rest of the tip, after an average over ``width``."""
    if rest == 0:
        return np.zeros(1), np.ones(1)
    points: tuple[NDArray[np.float64], NDArray[np.float64]] = gaussian_line(
        rest, LINE_SPACING * rest * width / math.sqrt(rest * rest + width * width)
    )
    return points


@compiled(nogil=True)
def _axes(axis, stretch):  # type: ignore[no-untyped-def]
    """Scaled coordinates u (light) and v (heavy): two factors each, of dx and dy."""
    sine, cosine = sincospi_f64(axis / PI)
    return np.array([cosine / stretch, sine / stretch, -sine * stretch, cosine * stretch])


@compiled(nogil=True, error_model="numpy")
def _changes(bands, step, core, count):  # type: ignore[no-untyped-def]
    """Change of the density of states at the distances ``core`` and at ``count`` steps; the first, at 0, is left 0."""
    near = np.zeros(len(core))
    ring = np.zeros(count)
    for band in range(len(bands)):
        k, damping, delta, alpha, factor = bands[band]
        sine, cosine = sincospi_f64(2.0 * delta / PI)
        even = 0.5 * factor * (alpha * cosine - 1.0)
        odd = factor * (alpha * sine)
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
