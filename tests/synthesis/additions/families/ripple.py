"""A toy family of tables: a signed ripple in an elliptic envelope, without any symmetry but inversion.

A(dx, dy) = cos(qx dx + qy dy) exp(-(dx/width_x)^2 - (dy/width_y)^2)
"""

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import exp2_f64, sincospi_f64
from qpibench.arithmetic.superposition import LOG2_E
from qpibench.columns import FOLD, Column, fold_label
from qpibench.families import KernelSpec

STRATUM = FOLD.name
UNIFORMS = 5
EXAMPLE = {"period_nm": [1.2, 2.0], "width_nm": 1.5}
stratum_label = fold_label


class Ranges(KernelSpec):
    """The period 2 pi/q and the larger width; where `reach_nm` is given, kernels are cut off there."""

    family: Literal["ripple"] = "ripple"
    period_nm: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    width_nm: Annotated[float, Field(gt=0)]
    reach_nm: Annotated[float, Field(gt=0)] | None = None


def _column(name, units):
    return Column(name=name, dtype="<f8", per="kernel", units=units, long_name=name, absent=math.nan)


COLUMNS = (
    FOLD,
    _column("qx", "rad/nm"),
    _column("qy", "rad/nm"),
    _column("width_x", "nm"),
    _column("width_y", "nm"),
    _column("cut", "nm"),
)


def strata(ranges, start, stop):
    return (2 * (np.arange(start, stop) % 2)).astype(np.int32)


def parameters(ranges, stratum, uniform):
    low, high = ranges.period_nm
    q = 2 * math.pi / (low + uniform[:, 0] * (high - low))
    across = 2 * uniform[:, 1] - 1
    return {
        "fold": stratum,
        "qx": q * across,
        "qy": q * np.sqrt(1 - across * across),
        "width_x": ranges.width_nm * (0.5 + 0.5 * uniform[:, 2]),
        "width_y": ranges.width_nm * (0.5 + 0.5 * uniform[:, 3]),
        "cut": np.full(len(uniform), ranges.reach_nm or np.inf),
    }


def shortest_period_nm(ranges):
    return ranges.period_nm[0]


def wavevector(parameters):
    return np.hypot(parameters["qx"], parameters["qy"])


def describe(parameters):
    return (stratum_label(int(parameters["fold"])), f"qx {parameters['qx']:.3g} rad/nm")


def core_radius_nm(ranges):
    return 0.0


def resolution_nm(ranges):
    return min(ranges.period_nm[0] / 10, ranges.width_nm / 10)


def reach_nm(ranges):
    return ranges.reach_nm or math.inf


def reference(dx, dy, *, fold, qx, qy, width_x, width_y, cut):
    dx, dy = np.broadcast_arrays(dx, dy)
    values = np.cos(qx * dx + qy * dy) * np.exp(-((dx / width_x) ** 2) - (dy / width_y) ** 2)
    return np.where((np.abs(dx) <= cut) & (np.abs(dy) <= cut), values, 0)


def samples(ranges, parameters, dx_nm, dy_nm):
    numbers = np.column_stack([parameters[name] for name in ("qx", "qy", "width_x", "width_y")])
    values = np.empty((len(numbers), len(dy_nm), len(dx_nm)))
    _fill(numbers, dx_nm, dy_nm, values)
    return values


@compiled(nogil=True, error_model="numpy")
def _fill(numbers, dx, dy, values):
    for kernel in range(len(numbers)):
        qx, qy, width_x, width_y = numbers[kernel]
        for row in range(len(dy)):
            v = dy[row] / width_y
            for column in range(len(dx)):
                u = dx[column] / width_x
                _, cosine = sincospi_f64((qx * dx[column] + qy * dy[row]) / math.pi)
                values[kernel, row, column] = cosine * exp2_f64(-LOG2_E * (u * u + v * v))
