"""Compiled sums over pairs of a pixel and a scatterer: images of kernels, their columns and their derivatives.

Pixels and scatterers are :class:`shared.polar.Points`. At a scatterer, where the angle is not defined, the harmonics
other than 1 are 0.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np

from qpibench.arithmetic.compiled import compiled
from shared.radial import spline_slopes, spline_weights


@nb.njit(inline="always")
def _offset(pixels, p, scatterers, s):  # type: ignore[no-untyped-def]
    """Offset of pixel p from scatterer s and its length."""
    dx = pixels.x[p] - scatterers.x[s]
    dy = pixels.y[p] - scatterers.y[s]
    return dx, dy, math.sqrt(dx * dx + dy * dy)


@nb.njit(inline="always", error_model="numpy")
def _direction(dx, dy, r):  # type: ignore[no-untyped-def]
    """Unit vector of an offset, 0 at the scatterer."""
    inverse = 1.0 / r if r > 0.0 else 0.0
    return dx * inverse, dy * inverse


@nb.njit(inline="always")
def _sum_of_four(weights, values, i):  # type: ignore[no-untyped-def]
    """Value of splines (spline,) in the knot interval i, from the four that are not 0 there."""
    w0, w1, w2, w3 = weights
    return w0 * values[i] + w1 * values[i + 1] + w2 * values[i + 2] + w3 * values[i + 3]


@compiled(nogil=True, error_model="numpy")
def add_harmonics(pixels: Any, scatterers: Any, folds: Any, spacing_nm: Any, table: Any, out: Any) -> None:
    """Add to ``out`` (pixel, harmonic, function) the functions at all scatterers; ``folds`` ascend and end with 0."""
    harmonics, width = out.shape[1:]
    intervals = len(table) - 3
    factor = np.empty(harmonics, np.float32)
    factor[0] = 1.0
    value = np.empty(width, np.float32)
    highest = 0
    for fold in folds:
        highest = max(highest, fold)
    for p in range(len(pixels.x)):
        for s in range(len(scatterers.x)):
            dx, dy, r = _offset(pixels, p, scatterers, s)
            place = r / spacing_nm
            if not place < intervals:
                continue
            ux, uy = _direction(dx, dy, r)
            c = 1.0
            s_ = 0.0
            next_fold = 0
            for order in range(1, highest + 1):
                c, s_ = c * ux - s_ * uy, c * uy + s_ * ux
                if order == folds[next_fold]:
                    factor[2 * next_fold + 1] = c
                    factor[2 * next_fold + 2] = s_
                    next_fold += 1
            interval = int(place)
            w0, w1, w2, w3 = spline_weights(place - interval)
            strength = scatterers.strength[s]
            v0 = np.float32(w0 * strength)
            v1 = np.float32(w1 * strength)
            v2 = np.float32(w2 * strength)
            v3 = np.float32(w3 * strength)
            for j in range(width):
                value[j] = (
                    v0 * table[interval, j]
                    + v1 * table[interval + 1, j]
                    + v2 * table[interval + 2, j]
                    + v3 * table[interval + 3, j]
                )
            for h in range(harmonics):
                f = factor[h]
                row = out[p, h]
                for j in range(width):
                    row[j] += f * value[j]


@nb.njit(inline="always")
def _angular_factor(ux, uy, fold, cos_phase, sin_phase):  # type: ignore[no-untyped-def]
    """Angular factor in the direction of a unit vector, and its derivative by the phase."""
    if fold == 0:
        return 1.0, 0.0
    c = 1.0
    s = 0.0
    for _ in range(fold):
        c, s = c * ux - s * uy, c * uy + s * ux
    return 0.5 - 0.5 * (c * cos_phase - s * sin_phase), 0.5 * (c * sin_phase + s * cos_phase)


@compiled(nogil=True, error_model="numpy")
def add_kernels(pixels: Any, scatterers: Any, fold: Any, phase: Any, spacing_nm: Any, profile: Any, value: Any) -> None:
    """Add to ``value`` (pixel,) a kernel at all scatterers; ``profile`` (spline,) has its profile's coefficients."""
    intervals = len(profile) - 3
    cos_phase = math.cos(phase)
    sin_phase = math.sin(phase)
    for p in range(len(pixels.x)):
        total = 0.0
        for s in range(len(scatterers.x)):
            dx, dy, r = _offset(pixels, p, scatterers, s)
            place = r / spacing_nm
            if not place < intervals:
                continue
            ux, uy = _direction(dx, dy, r)
            angular, _ = _angular_factor(ux, uy, fold, cos_phase, sin_phase)
            i = int(place)
            radial = _sum_of_four(spline_weights(place - i), profile, i)
            total += scatterers.strength[s] * radial * angular
        value[p] += total


@compiled(nogil=True, error_model="numpy")
def fill_derivatives(
    pixels: Any,
    scatterers: Any,
    fold: Any,
    phase: Any,
    spacing_nm: Any,
    profile: Any,
    nearest_nm: Any,
    splines: Any,
    columns: Any,
    single: Any,
) -> None:
    """Fill the two arrays of :class:`shared.polar.Linearised`, but for the derivatives by the coefficients.

    In place of these, add to ``splines`` (pixel, spline) the derivatives by the coefficients ``profile`` (spline,) that
    the kernel's profile has in splines.
    """
    intervals = len(profile) - 3
    cos_phase = math.cos(phase)
    sin_phase = math.sin(phase)
    size = columns.shape[1] - 1 - 2 * len(scatterers.x)
    for p in range(len(pixels.x)):
        by_phase = 0.0
        row = columns[p]
        for s in range(len(scatterers.x)):
            of_x = size + 1 + 2 * s
            row[of_x] = 0.0
            row[of_x + 1] = 0.0
            single[p, s] = 0.0
            dx, dy, r = _offset(pixels, p, scatterers, s)
            place = r / spacing_nm
            if not place < intervals:
                continue
            ux, uy = _direction(dx, dy, r)
            angular, slope = _angular_factor(ux, uy, fold, cos_phase, sin_phase)
            strength = scatterers.strength[s]
            i = int(place)
            weights = spline_weights(place - i)
            value = _sum_of_four(weights, profile, i)
            rise = _sum_of_four(spline_slopes(place - i), profile, i)
            along = rise / spacing_nm * angular * strength
            across = value * slope * fold / max(r, nearest_nm) * strength
            row[of_x] = across * uy - along * ux
            row[of_x + 1] = -across * ux - along * uy
            factor = angular * strength
            single[p, s] = value * factor
            by_phase += value * slope * strength
            for k in range(4):
                splines[p, i + k] += np.float32(weights[k] * factor)
        row[size] = by_phase
