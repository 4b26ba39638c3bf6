"""Compiled superpositions of eq. 7 and their derivatives, in float64.

Eq. 7 is A(r, theta) = (1 - Re(z^n e^{2 i phi1})) / 2 * sin^2(B r + phi2) * exp(-C r^2) with z = e^{i theta}; at a
scatterer, where the angle is not defined, z is set to 0, which gives the angular mean. For fold 0 the angular factor
is 1.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import exp2_f64, sincospi_f64
from qpibench.arithmetic.ieee import sqrt
from shared.background import remove

_LOG2_E = 1.0 / np.log(2.0)


@nb.njit(inline="always", error_model="numpy")
def _power(c, s, is_2, is_3, is_4, is_6):  # type: ignore[no-untyped-def]
    """Real and imaginary part of z^n; 0 for n = 0."""
    c2, s2 = c * c - s * s, 2.0 * c * s
    c3, s3 = c2 * c - s2 * s, c2 * s + s2 * c
    c4, s4 = c2 * c2 - s2 * s2, 2.0 * c2 * s2
    c6, s6 = c3 * c3 - s3 * s3, 2.0 * c3 * s3
    return is_2 * c2 + is_3 * c3 + is_4 * c4 + is_6 * c6, is_2 * s2 + is_3 * s3 + is_4 * s4 + is_6 * s6


@compiled(nogil=True, error_model="numpy")
def add_eq7(x: Any, y: Any, scatterers: Any, fold: Any, parameters: Any, value: Any, by_parameter: Any) -> None:
    """Add eq. 7 at all scatterers to ``value`` (pixel,) and its derivatives to ``by_parameter`` (4, pixel).

    ``parameters`` begin with phi1, B, phi2 and C.
    """
    phi1, B, phi2, C = parameters[0], parameters[1], parameters[2], parameters[3]
    mean = 1.0 if fold == 0 else 0.5
    is_2, is_3 = np.float64(fold == 2), np.float64(fold == 3)
    is_4, is_6 = np.float64(fold == 4), np.float64(fold == 6)
    sin_phi, cos_phi = sincospi_f64(2.0 * phi1 / np.pi)
    frequency, phase, decay = 2.0 * B / np.pi, 2.0 * phi2 / np.pi, -C * _LOG2_E
    for k in range(len(scatterers.x)):
        x0, y0, strength = scatterers.x[k], scatterers.y[k], scatterers.strength[k]
        for p in range(len(x)):
            dx, dy = x[p] - x0, y[p] - y0
            r2 = dx * dx + dy * dy
            r = sqrt(r2)
            inverse = 1.0 / r if r > 0.0 else 0.0
            cos_n, sin_n = _power(dx * inverse, dy * inverse, is_2, is_3, is_4, is_6)
            angular = mean - 0.5 * (cos_n * cos_phi - sin_n * sin_phi)
            turning = sin_n * cos_phi + cos_n * sin_phi
            swinging, cos_r = sincospi_f64(frequency * r + phase)
            radial = 0.5 - 0.5 * cos_r
            envelope = strength * exp2_f64(decay * r2)
            own = angular * radial * envelope
            value[p] += own
            by_parameter[0, p] += turning * radial * envelope
            by_parameter[1, p] += angular * r * swinging * envelope
            by_parameter[2, p] += angular * swinging * envelope
            by_parameter[3, p] -= r2 * own


@compiled(nogil=True, error_model="numpy")
def fill_normal_equations(
    x: Any,
    y: Any,
    image: Any,
    scatterers: Any,
    background: Any,
    fold: Any,
    parameters: Any,
    work: Any,
    matrix: Any,
    downhill: Any,
) -> float:
    """Fill J^T J (5, 5) and J^T (image - model) (5,), and return the sum of squared residuals.

    ``work`` (6, pixel) is overwritten with the residual and the derivatives J, without the background.
    """
    work[:] = 0.0
    add_eq7(x, y, scatterers, fold, parameters, work[5], work[1:5])
    amplitude = parameters[4]
    squares = 0.0
    matrix[:] = 0.0
    downhill[:] = 0.0
    for p in range(len(x)):
        work[0, p] = image[p] - amplitude * work[5, p]
    for a in range(1, 5):
        for p in range(len(x)):
            work[a, p] *= amplitude
    remove(work, background.smooth, background.first)
    for p in range(len(x)):
        squares += work[0, p] * work[0, p]
    for a in range(5):
        downhill[a] = np.dot(work[1 + a], work[0])
        for b in range(a + 1):
            matrix[a, b] = np.dot(work[1 + a], work[1 + b])
            matrix[b, a] = matrix[a, b]
    return squares


@compiled(nogil=True, error_model="numpy")
def descend_eq7(
    x: Any,
    y: Any,
    image: Any,
    scatterers: Any,
    background: Any,
    fold: Any,
    start: Any,
    free: Any,
    limits: Any,
    steps: Any,
    tolerance: Any,
) -> Any:
    """Lower the sum of squared residuals by Levenberg-Marquardt steps from ``start`` (5,).

    ``free`` are the first parameter that is not known and the end of these; ``limits`` are the largest B and C. The
    descent ends where a step promises less than ``tolerance`` of the sum, or lowers it by less. Returns the parameters,
    the sum, and the matrix J^T J (5, 5) there.
    """
    work = np.empty((6, len(x)))
    at = start.copy()
    matrix, downhill = np.empty((5, 5)), np.empty(5)
    tried_matrix, tried_downhill = np.empty((5, 5)), np.empty(5)
    squares = fill_normal_equations(x, y, image, scatterers, background, fold, at, work, matrix, downhill)
    damping = 1e-3
    begin, end = free
    for _ in range(steps):
        damped = matrix[begin:end, begin:end].copy()
        for a in range(end - begin):
            damped[a, a] = damped[a, a] * (1.0 + damping) + 1e-300
        step = np.linalg.solve(damped, downhill[begin:end].copy())
        promised = np.dot(step, downhill[begin:end])
        if not promised > tolerance * squares:
            break
        tried = at.copy()
        tried[begin:end] += step
        tried[1] = min(max(tried[1], 0.0), limits[0])
        tried[3] = min(max(tried[3], 0.0), limits[1])
        lower = fill_normal_equations(
            x, y, image, scatterers, background, fold, tried, work, tried_matrix, tried_downhill
        )
        if lower < squares:
            is_last = squares - lower < tolerance * squares
            at, squares = tried, lower
            matrix[:] = tried_matrix
            downhill[:] = tried_downhill
            damping = max(damping / 8.0, 1e-9)
            if is_last:
                break
        else:
            damping *= 8.0
            if damping > 1e8:
                break
    return at, squares, matrix


@compiled(nogil=True, error_model="numpy")
def fill_eq7_pairs(
    x: Any, y: Any, scatterers: Any, fold: Any, parameters: Any, nearest_nm: Any, single: Any, by_x: Any, by_y: Any
) -> None:
    """Fill the transposed arrays (scatterer, pixel) of :class:`shared.harmonic_kernel.Pairs` for eq. 7."""
    phi1, B, phi2, C, amplitude = parameters
    mean = 1.0 if fold == 0 else 0.5
    is_2, is_3 = np.float64(fold == 2), np.float64(fold == 3)
    is_4, is_6 = np.float64(fold == 4), np.float64(fold == 6)
    sin_phi, cos_phi = sincospi_f64(2.0 * phi1 / np.pi)
    frequency, phase, decay = 2.0 * B / np.pi, 2.0 * phi2 / np.pi, -C * _LOG2_E
    for k in range(len(scatterers.x)):
        x0, y0, strength = scatterers.x[k], scatterers.y[k], scatterers.strength[k]
        for p in range(len(x)):
            dx, dy = x[p] - x0, y[p] - y0
            r2 = dx * dx + dy * dy
            r = sqrt(r2)
            inverse = 1.0 / r if r > 0.0 else 0.0
            ux, uy = dx * inverse, dy * inverse
            cos_n, sin_n = _power(ux, uy, is_2, is_3, is_4, is_6)
            angular = mean - 0.5 * (cos_n * cos_phi - sin_n * sin_phi)
            swinging, cos_r = sincospi_f64(frequency * r + phase)
            radial = 0.5 - 0.5 * cos_r
            envelope = amplitude * exp2_f64(decay * r2)
            along = strength * angular * envelope * (B * swinging - 2.0 * C * r * radial)
            turning = 0.5 * fold * (sin_n * cos_phi + cos_n * sin_phi)
            across = strength * turning * radial * envelope / max(r, nearest_nm)
            single[k, p] = np.float32(angular * radial * envelope)
            by_x[k, p] = np.float32(across * uy - along * ux)
            by_y[k, p] = np.float32(-across * ux - along * uy)
