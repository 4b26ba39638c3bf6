"""Tight-binding bands of Bravais lattices: neighbours, edges, velocities and contours of constant energy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import sincospi_f64

SQRT_3 = 1.7320508075688772

ANGLES, STEPS = 96, 256
"""Points along each axis of the Brillouin zone for the edges, and along a direction for a contour."""


def lattice_vectors(fold: int, length: float, angle: float) -> NDArray[np.float64]:
    """Vectors a1 and a2, (2, xy) float64, with defined bits.

    Parameters
    ----------
    fold
        6 for the triangular lattice, whose vectors enclose 60 degrees, else a square lattice.
    length
        Lattice constant.
    angle
        Angle from the x axis to a1 in rad.
    """
    cosine, sine = length * _cos_and_sin(angle / math.pi)
    if fold == 6:
        return np.array([[cosine, sine], [(cosine - SQRT_3 * sine) / 2, (sine + SQRT_3 * cosine) / 2]])
    return np.array([[cosine, sine], [-sine, cosine]])


@compiled()
def _cos_and_sin(turn):  # type: ignore[no-untyped-def]
    sine, cosine = sincospi_f64(turn)
    return np.array([cosine, sine])


def hoppings(fold: int, nearest: float, second: float, anisotropy: float) -> NDArray[np.float64]:
    """Rows m_j, n_j and t_j of the neighbours at m_j a1 + n_j a2; one of each pair of opposite ones."""
    if fold == 6:
        first = [(1, 0, nearest), (0, 1, nearest), (1, -1, nearest)]
        others = [(1, 1, second), (2, -1, second), (1, -2, second)]
    else:
        first = [(1, 0, nearest * (1 + anisotropy)), (0, 1, nearest * (1 - anisotropy))]
        others = [(1, 1, second), (1, -1, second)]
    return np.array(first + others if second else first, dtype=np.float64)


def energies(
    hopping: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Energies of the wavevectors with k a1 = `first` and k a2 = `second` (rad), which broadcast."""
    total = np.zeros(np.broadcast_shapes(first.shape, second.shape))
    for m, n, t in hopping.tolist():
        total += -2 * t * np.cos(m * first + n * second)
    return total


def band_edges(hopping: NDArray[np.float64]) -> tuple[float, float]:
    """Lowest and highest energy on a mesh of ``ANGLES`` x ``ANGLES`` wavevectors, which has the symmetric points."""
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    band = energies(hopping, angle, angle[:, None])
    return float(band.min()), float(band.max())


def fastest(hopping: NDArray[np.float64], energy: float) -> float:
    """Upper bound of d(energy)/d(k a1) and d(energy)/d(k a2) up to an energy, with defined bits.

    It is at most v = 2 sum_j t_j |m_j|. If no hopping is negative, e = sum_j 2 t_j (1 - cos phi_j) is the energy above
    the bottom, and |sin phi|^2 <= 2 (1 - cos phi) gives v <= 2 sqrt(e sum_j t_j m_j^2).
    """
    rows = hopping.tolist()
    bounds = [2.0 * math.fsum(abs(t * row[axis]) for *row, t in rows) for axis in (0, 1)]
    if all(t >= 0 for _, _, t in rows):
        above = max(energy + 2.0 * math.fsum(t for _, _, t in rows), 0.0)
        slow = [2.0 * math.sqrt(above * math.fsum(t * row[axis] * row[axis] for *row, t in rows)) for axis in (0, 1)]
        bounds = [min(pair) for pair in zip(bounds, slow, strict=True)]
    return max(bounds)


def contour(fold: int, hopping: NDArray[np.float64], energy: float, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wavevectors in rad per lattice constant at which the rising band reaches an energy, along directions from a1.

    (direction,) float64; NaN where it turns before it does.
    """
    found = np.full(len(angles), np.nan)
    k = 2 * np.pi * np.arange(STEPS + 1) / STEPS
    for place, vector in enumerate(np.stack([np.cos(angles), np.sin(angles)], axis=1)):
        first, second = lattice_vectors(fold, 1.0, 0.0) @ vector
        band = energies(hopping, k * first, k * second)
        rising = int(np.argmax(np.append(np.diff(band) <= 0, True))) + 1
        if band[0] <= energy <= band[rising - 1]:
            found[place] = np.interp(energy, band[:rising], k[:rising])
    return found
