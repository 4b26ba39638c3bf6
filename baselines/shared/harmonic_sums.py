"""Compiled sums over pairs of a pixel and a scatterer, for kernels of several harmonics.

Pixels and scatterers are :class:`shared.polar.Points`. Orders of harmonics ascend from 0, and tables of coefficients
are (spline, harmonic): what one pair needs of them is contiguous. At a scatterer harmonics other than 1 are 0.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np

from qpibench.arithmetic.compiled import compiled
from shared.radial import spline_slopes, spline_weights


@nb.njit(inline="always", error_model="numpy")
def _fill_harmonics(orders, ux, uy, factor):  # type: ignore[no-untyped-def]
    """Fill ``factor`` (harmonic,) with 1, cos(m theta), sin(m theta), ... in the direction of a unit vector."""
    factor[0] = 1.0
    c = 1.0
    s = 0.0
    reached = 0
    for k in range(1, len(orders)):
        while reached < orders[k]:
            c, s = c * ux - s * uy, c * uy + s * ux
            reached += 1
        factor[2 * k - 1] = c
        factor[2 * k] = s


@compiled(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def superpose(pixels: Any, scatterers: Any, orders: Any, spacing_nm: Any, table: Any, value: Any) -> None:
    """Add to ``value`` (pixel,) the kernels of ``table`` at all scatterers."""
    intervals = len(table) - 3
    harmonics = table.shape[1]
    factor = np.empty(harmonics)
    for p in range(len(pixels.x)):
        total = 0.0
        for s in range(len(scatterers.x)):
            dx = pixels.x[p] - scatterers.x[s]
            dy = pixels.y[p] - scatterers.y[s]
            r = math.sqrt(dx * dx + dy * dy)
            place = r / spacing_nm
            if not place < intervals:
                continue
            inverse = 1.0 / r if r > 0.0 else 0.0
            _fill_harmonics(orders, dx * inverse, dy * inverse, factor)
            i = int(place)
            w0, w1, w2, w3 = spline_weights(place - i)
            own = 0.0
            for h in range(harmonics):
                own += factor[h] * (
                    w0 * table[i, h] + w1 * table[i + 1, h] + w2 * table[i + 2, h] + w3 * table[i + 3, h]
                )
            total += scatterers.strength[s] * own
        value[p] += total


@compiled(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def fill_pairs(
    pixels: Any,
    scatterers: Any,
    orders: Any,
    spacing_nm: Any,
    table: Any,
    nearest_nm: Any,
    single: Any,
    by_x: Any,
    by_y: Any,
) -> None:
    """Fill the arrays of :class:`shared.harmonic_kernel.Pairs`."""
    intervals = len(table) - 3
    harmonics = table.shape[1]
    factor = np.empty(harmonics)
    for p in range(len(pixels.x)):
        for s in range(len(scatterers.x)):
            single[p, s] = 0.0
            by_x[p, s] = 0.0
            by_y[p, s] = 0.0
            dx = pixels.x[p] - scatterers.x[s]
            dy = pixels.y[p] - scatterers.y[s]
            r = math.sqrt(dx * dx + dy * dy)
            place = r / spacing_nm
            if not place < intervals:
                continue
            inverse = 1.0 / r if r > 0.0 else 0.0
            ux = dx * inverse
            uy = dy * inverse
            _fill_harmonics(orders, ux, uy, factor)
            i = int(place)
            w0, w1, w2, w3 = spline_weights(place - i)
            d0, d1, d2, d3 = spline_slopes(place - i)
            own = w0 * table[i, 0] + w1 * table[i + 1, 0] + w2 * table[i + 2, 0] + w3 * table[i + 3, 0]
            rise = d0 * table[i, 0] + d1 * table[i + 1, 0] + d2 * table[i + 2, 0] + d3 * table[i + 3, 0]
            turn = 0.0
            for k in range(1, len(orders)):
                h = 2 * k - 1
                a = w0 * table[i, h] + w1 * table[i + 1, h] + w2 * table[i + 2, h] + w3 * table[i + 3, h]
                slope_a = d0 * table[i, h] + d1 * table[i + 1, h] + d2 * table[i + 2, h] + d3 * table[i + 3, h]
                h += 1
                b = w0 * table[i, h] + w1 * table[i + 1, h] + w2 * table[i + 2, h] + w3 * table[i + 3, h]
                slope_b = d0 * table[i, h] + d1 * table[i + 1, h] + d2 * table[i + 2, h] + d3 * table[i + 3, h]
                c = factor[h - 1]
                d = factor[h]
                own += c * a + d * b
                rise += c * slope_a + d * slope_b
                turn += orders[k] * (c * b - d * a)
            strength = scatterers.strength[s]
            along = strength * rise / spacing_nm
            across = strength * turn / max(r, nearest_nm) if r > 0.0 else 0.0
            single[p, s] = own
            by_x[p, s] = across * uy - along * ux
            by_y[p, s] = -across * ux - along * uy


@compiled(nogil=True, error_model="numpy")
def add_splines(pixels: Any, scatterers: Any, orders: Any, spacing_nm: Any, columns: Any) -> None:
    """Add to ``columns`` (pixel, spline, harmonic) the products of harmonics and splines at all scatterers."""
    intervals = columns.shape[1] - 3
    harmonics = columns.shape[2]
    factor = np.empty(harmonics, np.float32)
    for p in range(len(pixels.x)):
        for s in range(len(scatterers.x)):
            dx = pixels.x[p] - scatterers.x[s]
            dy = pixels.y[p] - scatterers.y[s]
            r = math.sqrt(dx * dx + dy * dy)
            place = r / spacing_nm
            if not place < intervals:
                continue
            inverse = 1.0 / r if r > 0.0 else 0.0
            _fill_harmonics(orders, dx * inverse, dy * inverse, factor)
            i = int(place)
            w0, w1, w2, w3 = spline_weights(place - i)
            strength = scatterers.strength[s]
            v0 = np.float32(w0 * strength)
            v1 = np.float32(w1 * strength)
            v2 = np.float32(w2 * strength)
            v3 = np.float32(w3 * strength)
            for h in range(harmonics):
                f = factor[h]
                columns[p, i, h] += v0 * f
                columns[p, i + 1, h] += v1 * f
                columns[p, i + 2, h] += v2 * f
                columns[p, i + 3, h] += v3 * f


@compiled(nogil=True, error_model="numpy")
def add_separable(
    pixels: Any, scatterers: Any, fold: Any, spacing_nm: Any, profile: Any, pattern: Any, splines: Any, by_harmonic: Any
) -> None:
    """Add the derivatives of a separable kernel's image by its radial coefficients and by its pattern.

    The kernel is the radial function ``profile`` (spline,) times ``pattern`` (harmonic,), of the harmonics 1 and, if
    the fold is not 0, its cosine and sine. ``splines`` is (pixel, spline) and ``by_harmonic`` (pixel, harmonic).
    """
    intervals = len(profile) - 3
    for p in range(len(pixels.x)):
        total = 0.0
        of_cos = 0.0
        of_sin = 0.0
        for s in range(len(scatterers.x)):
            dx = pixels.x[p] - scatterers.x[s]
            dy = pixels.y[p] - scatterers.y[s]
            r = math.sqrt(dx * dx + dy * dy)
            place = r / spacing_nm
            if not place < intervals:
                continue
            inverse = 1.0 / r if r > 0.0 else 0.0
            ux = dx * inverse
            uy = dy * inverse
            c = 0.0
            d = 0.0
            angular = pattern[0]
            if fold > 0:
                c = 1.0
                for _ in range(fold):
                    c, d = c * ux - d * uy, c * uy + d * ux
                angular += pattern[1] * c + pattern[2] * d
            i = int(place)
            w0, w1, w2, w3 = spline_weights(place - i)
            strength = scatterers.strength[s]
            radial = strength * (w0 * profile[i] + w1 * profile[i + 1] + w2 * profile[i + 2] + w3 * profile[i + 3])
            total += radial
            of_cos += radial * c
            of_sin += radial * d
            factor = strength * angular
            splines[p, i] += np.float32(w0 * factor)
            splines[p, i + 1] += np.float32(w1 * factor)
            splines[p, i + 2] += np.float32(w2 * factor)
            splines[p, i + 3] += np.float32(w3 * factor)
        by_harmonic[p, 0] += total
        if fold > 0:
            by_harmonic[p, 1] += of_cos
            by_harmonic[p, 2] += of_sin
