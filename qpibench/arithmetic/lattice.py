"""Electrons on a Bravais lattice with defined bits: Green function, images of orbitals, and nearest sites.

A site lies at R = m a1 + n a2. All functions are float64 with sums in a written order.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import EXP2_FLOOR, exp2_f64
from qpibench.arithmetic.fourier import circle, inverse_transforms
from qpibench.arithmetic.ieee import fma, rint, sqrt

TRANSFORMS = 16
"""Fourier transforms made together; their number changes no bit."""

TAIL = math.sqrt(1 - EXP2_FLOOR)
"""Distance from a site, in half widths at half maximum of its orbital, from which the orbital is exactly 0."""


@compiled(nogil=True, error_model="numpy")
def green_function(mesh, hoppings, energy, broadening, reach):  # type: ignore[no-untyped-def]
    """Retarded Green function of a band between the site at the origin and the sites around it.

    G(m, n) = mesh^-2 sum_pq exp(2 pi i (m p + n q)/mesh) / (energy + i broadening - eps(p, q)),
    eps(p, q) = -2 sum_j t_j cos(2 pi (m_j p + n_j q)/mesh).

    Parameters
    ----------
    mesh
        Number of wavevectors along each axis, a power of two.
    hoppings
        (hopping, 3) float64: m_j, n_j and t_j, one of each pair of opposite neighbours.
    energy, broadening
        In the unit of the hoppings; the energy relative to the level of a site.
    reach
        Largest index of a site, below mesh/2.

    Returns
    -------
    ndarray
        (reach + 1, 2 reach + 1, 2) float64: real and imaginary part for n = 0 .. reach and m = -reach .. reach. As the
        band is even in the wavevector, G(-m, -n) = G(m, n).
    """
    half, wide = mesh // 2, 2 * reach + 1
    turns = circle(mesh)
    real, imag = np.empty((mesh, TRANSFORMS)), np.empty((mesh, TRANSFORMS))
    spare_real, spare_imag = np.empty((mesh, TRANSFORMS)), np.empty((mesh, TRANSFORMS))
    # Sums over q for p = 0 .. mesh/2 and n = -reach .. reach; those for -p and n are those for p and -n.
    rows_real, rows_imag = np.empty((half + 1, wide)), np.empty((half + 1, wide))
    for first in range(0, half + 1, TRANSFORMS):
        for q in range(mesh):
            for lane in range(TRANSFORMS):
                p = first + lane
                detuning = energy
                for j in range(len(hoppings)):
                    turn = (np.int64(hoppings[j, 0]) * p + np.int64(hoppings[j, 1]) * q) & (mesh - 1)
                    detuning = fma(2.0 * hoppings[j, 2], turns[turn, 0], detuning)
                scale = 1.0 / fma(detuning, detuning, broadening * broadening)
                real[q, lane] = detuning * scale
                imag[q, lane] = -(broadening * scale)
        inverse_transforms(turns, real, imag, spare_real, spare_imag)
        for lane in range(min(TRANSFORMS, half + 1 - first)):
            for n in range(-reach, reach + 1):
                rows_real[first + lane, n + reach] = real[n & (mesh - 1), lane]
                rows_imag[first + lane, n + reach] = imag[n & (mesh - 1), lane]
    found = np.empty((reach + 1, wide, 2))
    scale = 1.0 / (np.float64(mesh) * np.float64(mesh))
    for first in range(0, reach + 1, TRANSFORMS):
        for p in range(mesh):
            for lane in range(TRANSFORMS):
                n = min(first + lane, reach)
                row, column = (p, n + reach) if p <= half else (mesh - p, reach - n)
                real[p, lane] = rows_real[row, column]
                imag[p, lane] = rows_imag[row, column]
        inverse_transforms(turns, real, imag, spare_real, spare_imag)
        for lane in range(min(TRANSFORMS, reach + 1 - first)):
            for m in range(-reach, reach + 1):
                found[first + lane, m + reach, 0] = scale * real[m & (mesh - 1), lane]
                found[first + lane, m + reach, 1] = scale * imag[m & (mesh - 1), lane]
    return found


@compiled(nogil=True, error_model="numpy")
def density_change(green, potential):  # type: ignore[no-untyped-def]
    """Relative change of the density of states at the sites around a scatterer on the site at the origin.

    dN(R)/N0 = Im[G(R) T G(-R)] / Im G(0), T = V/(1 - V G(0)).

    Parameters
    ----------
    green
        Array of :func:`green_function`.
    potential
        Energy V by which the scatterer raises the level of its site.

    Returns
    -------
    ndarray
        (2 reach + 1, 2 reach + 1) float64 for n = -reach .. reach and m = -reach .. reach.
    """
    reach = len(green) - 1
    x, y = green[0, reach, 0], green[0, reach, 1]
    # 1 - V G(0), and the conjugate of its inverse times V / Im G(0).
    a, b = 1.0 - potential * x, -(potential * y)
    scale = potential / (y * fma(a, a, b * b))
    t_real, t_imag = scale * a, -(scale * b)
    change = np.empty((2 * reach + 1, 2 * reach + 1))
    for n in range(reach + 1):
        for m in range(2 * reach + 1):
            g, h = green[n, m, 0], green[n, m, 1]
            value = fma(t_imag, fma(g, g, -(h * h)), t_real * (2.0 * (g * h)))
            change[reach + n, m] = value
            change[reach - n, 2 * reach - m] = value
    return change


@compiled(nogil=True, error_model="numpy")
def image_of_orbitals(values, first, origin, vectors, half_width, weight, dx, dy, image):  # type: ignore[no-untyped-def]
    """Add Gaussians at the sites of a lattice to an image: sum_R values(R) weight 2^(-|r - R|^2/half_width^2).

    A row or column factor of a Gaussian below 2^-40 is exactly 0.

    Parameters
    ----------
    values
        (n, m) float64.
    first
        First m and n, (2,) int64.
    origin
        (xy,) float64: position of the site with m = n = 0.
    vectors
        (2, xy) float64: a1 and a2.
    half_width
        Half width of the Gaussians at half maximum.
    weight
        Factor of all Gaussians.
    dx, dy
        (nx,) and (ny,) float64: coordinates of columns and rows, ascending.
    image
        (ny, nx) float64.
    """
    tail = TAIL * half_width
    row, column = np.empty(len(dy)), np.empty(len(dx))
    for n in range(first[1], first[1] + values.shape[0]):
        for m in range(first[0], first[0] + values.shape[1]):
            x = origin[0] + (m * vectors[0, 0] + n * vectors[1, 0])
            y = origin[1] + (m * vectors[0, 1] + n * vectors[1, 1])
            left, right = np.searchsorted(dx, x - tail), np.searchsorted(dx, x + tail)
            low, high = np.searchsorted(dy, y - tail), np.searchsorted(dy, y + tail)
            if left == right or low == high:
                continue
            value = weight * values[n - first[1], m - first[0]]
            for k in range(left, right):
                t = (dx[k] - x) / half_width
                column[k] = exp2_f64(-(t * t))
            for k in range(low, high):
                t = (dy[k] - y) / half_width
                row[k] = value * exp2_f64(-(t * t))
            for k in range(low, high):
                factor = row[k]
                for j in range(left, right):
                    image[k, j] = fma(factor, column[j], image[k, j])


@compiled(nogil=True, error_model="numpy")
def move_to_sites(vectors, origin, half, hole, separation, first, position):  # type: ignore[no-untyped-def]
    """Move points to the sites of a lattice in a rectangle or a frame, each to a site of its own.

    The points of an image take turns. Each gets the nearest site that lies in the frame and that no earlier point has;
    of equally near ones the first in the order of n and then m. A point for which no site is left stays. Sites closer
    than ``separation`` to that of an earlier point are not free either.

    Parameters
    ----------
    vectors, origin
        (2, xy) float64: a1 and a2; (xy,) float64: the position of a site.
    half, hole
        (xy,) float64: half the sides of the rectangle, and of a rectangle whose sites are left out; negative for none.
    separation
        Smallest distance; sites at this distance but for rounding, one part in 10^9, are free.
    first
        (image,) int32: the first point of an image that moves.
    position
        (image, point, xy) float64, replaced in place; NaN after the last point of an image.
    """
    area = vectors[0, 0] * vectors[1, 1] - vectors[0, 1] * vectors[1, 0]
    across = vectors[0, 0] * vectors[0, 0] + vectors[0, 1] * vectors[0, 1]
    along = vectors[1, 0] * vectors[1, 0] + vectors[1, 1] * vectors[1, 1]
    spacing = area / sqrt(max(across, along))  # smallest distance between lines of equal m or n
    nearest_allowed = separation * separation * (1.0 - 2e-9)
    taken = np.empty((position.shape[1], 2), np.int64)
    for image in range(len(position)):
        for point in range(first[image], position.shape[1]):
            px, py = position[image, point, 0], position[image, point, 1]
            if np.isnan(px):
                break
            x, y = px - origin[0], py - origin[1]
            m0 = int(rint((x * vectors[1, 1] - y * vectors[1, 0]) / area))
            n0 = int(rint((y * vectors[0, 0] - x * vectors[0, 1]) / area))
            nearest, site_m, site_n, site_x, site_y = np.inf, m0, n0, px, py
            ring = 0
            while True:
                near = (ring - 0.5) * spacing  # sites of this ring are not nearer
                if ring > 1 and (nearest < near * near or near > 2.0 * (half[0] + half[1])):
                    break
                for n in range(n0 - ring, n0 + ring + 1):
                    edge = n == n0 - ring or n == n0 + ring
                    for m in range(m0 - ring, m0 + ring + 1, 1 if edge else max(1, 2 * ring)):
                        at_x = origin[0] + (m * vectors[0, 0] + n * vectors[1, 0])
                        at_y = origin[1] + (m * vectors[0, 1] + n * vectors[1, 1])
                        if not (abs(at_x) <= half[0] and abs(at_y) <= half[1]):
                            continue
                        if abs(at_x) <= hole[0] and abs(at_y) <= hole[1]:
                            continue
                        distance = (at_x - px) * (at_x - px) + (at_y - py) * (at_y - py)
                        if distance > nearest or (distance == nearest and (n > site_n or (n == site_n and m > site_m))):
                            continue
                        free = True
                        for other in range(first[image], point):
                            p, q = m - taken[other, 0], n - taken[other, 1]
                            if (p == 0 and q == 0) or _squared(vectors, p, q) < nearest_allowed:
                                free = False
                        if free:
                            nearest, site_m, site_n, site_x, site_y = distance, m, n, at_x, at_y
                ring += 1
            taken[point, 0], taken[point, 1] = site_m, site_n
            position[image, point, 0], position[image, point, 1] = site_x, site_y


@nb.njit(inline="always")
def _squared(vectors, m, n):  # type: ignore[no-untyped-def]
    """Squared length of a lattice vector."""
    x, y = m * vectors[0, 0] + n * vectors[1, 0], m * vectors[0, 1] + n * vectors[1, 1]
    return x * x + y * y


@compiled(nogil=True, error_model="numpy")
def count_closer(vectors, separation):  # type: ignore[no-untyped-def]
    """Number of sites closer than ``separation`` to a site, itself included; not those at it but for rounding."""
    area = abs(vectors[0, 0] * vectors[1, 1] - vectors[0, 1] * vectors[1, 0])
    most_m = np.int64(separation * sqrt(_squared(vectors, 0, 1)) / area) + 1
    most_n = np.int64(separation * sqrt(_squared(vectors, 1, 0)) / area) + 1
    found = 0
    for n in range(-most_n, most_n + 1):
        for m in range(-most_m, most_m + 1):
            found += (m == 0 and n == 0) or _squared(vectors, m, n) < separation * separation * (1.0 - 2e-9)
    return found


@compiled(nogil=True, error_model="numpy")
def count_sites(vectors, origin, half_x, half_y, enough):  # type: ignore[no-untyped-def]
    """Number of sites of a lattice in the rectangle |x| <= half_x, |y| <= half_y; not more than ``enough``."""
    area = vectors[0, 0] * vectors[1, 1] - vectors[0, 1] * vectors[1, 0]
    m0 = np.int64(rint((origin[1] * vectors[1, 0] - origin[0] * vectors[1, 1]) / area))
    n0 = np.int64(rint((origin[0] * vectors[0, 1] - origin[1] * vectors[0, 0]) / area))
    most_m = np.int64((half_x * abs(vectors[1, 1]) + half_y * abs(vectors[1, 0])) / area) + 2
    most_n = np.int64((half_y * abs(vectors[0, 0]) + half_x * abs(vectors[0, 1])) / area) + 2
    found = 0
    for n in range(n0 - most_n, n0 + most_n + 1):
        for m in range(m0 - most_m, m0 + most_m + 1):
            at_x = origin[0] + (m * vectors[0, 0] + n * vectors[1, 0])
            at_y = origin[1] + (m * vectors[0, 1] + n * vectors[1, 1])
            found += abs(at_x) <= half_x and abs(at_y) <= half_y
        if found >= enough:
            return enough
    return found
