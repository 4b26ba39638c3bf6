"""A toy family: damped rings, A(r) = cos(q r) exp(-C r^2), of one or two bands: the second has twice the q."""

import math
from typing import Annotated, Literal

import numba as nb
import numpy as np
from pydantic import Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import exp2_f64, sin2pi_f32, sin2pi_f64
from qpibench.arithmetic.ieee import fma, sqrt
from qpibench.arithmetic.superposition import LOG2_E, image_of_kernel, superpose_tiles
from qpibench.columns import Column
from qpibench.families import KernelSpec

STRATUM = "band"
UNIFORMS = 5
EXAMPLE = {"period_nm": [1.0, 2.0]}
_f32 = np.float32


class Ranges(KernelSpec):
    """The period 2 pi/q of the first band."""

    family: Literal["ring"] = "ring"
    period_nm: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


COLUMNS = (
    Column(name="band", dtype="<i4", per="kernel", units="1", long_name="first or second band", absent=-1),
    Column(name="q", dtype="<f8", per="kernel", units="rad/nm", long_name="wavevector", absent=math.nan),
    Column(name="damping", dtype="<f8", per="kernel", units="1/nm^2", long_name="Gaussian decay", absent=math.nan),
)


def strata(ranges, start, stop):
    return (1 + np.arange(start, stop) % 2).astype(np.int32)


def stratum_label(stratum):
    return f"band {stratum}" if stratum > 0 else "unknown"


def parameters(ranges, stratum, uniform):
    low, high = ranges.period_nm
    return {
        "band": stratum,
        "q": 2 * math.pi * stratum / (low + uniform[:, 4] * (high - low)),
        "damping": uniform[:, 0],
    }


def shortest_period_nm(ranges):
    return ranges.period_nm[0] / 2


def core_radius_nm(ranges):
    return 0.0


def wavevector(parameters):
    return parameters["q"]


def describe(parameters):
    return (stratum_label(int(parameters["band"])), f"q {parameters['q']:.3g} rad/nm")


def reference(dx, dy, *, band, q, damping):
    r = np.hypot(dx, dy)
    return np.cos(q * r) * np.exp(-damping * r**2)


def coefficients(parameters):
    # cos(q r) = 1 - 2 sin^2(pi t), with t = q r / (2 pi).
    turns, decay = parameters["q"] / (2 * math.pi), -parameters["damping"] * LOG2_E
    one, zero = np.ones_like(turns), np.zeros_like(turns)
    return np.column_stack([one, zero, turns, zero, decay])


@nb.njit(inline="always")
def _add(pixel, r2, c, s, weight, turns, nothing):
    return fma(weight, fma(_f32(-2), sin2pi_f32(turns * sqrt(r2)), _f32(1)), pixel)


@compiled(nogil=True, error_model="numpy")
def superpose(axes, row, formulas, scatterers, image):
    for k in range(len(image)):
        superpose_tiles(
            _add,
            _add,
            0,
            _f32(1),
            axes,
            scatterers.position[k],
            scatterers.amplitude[k],
            scatterers.species[k],
            scatterers.number[k],
            formulas.table[row[k]],
            image[k],
        )


@nb.njit(inline="always")
def _value(stratum, x, y, r2, r, numbers):
    return exp2_f64(numbers[4] * r2) * (1.0 - 2.0 * sin2pi_f64(numbers[2] * r))


@compiled(nogil=True, error_model="numpy")
def kernel_images(axes, formulas, image):
    for k in range(len(image)):
        image_of_kernel(_value, axes, formulas.stratum[k], formulas.table[k], image[k])
