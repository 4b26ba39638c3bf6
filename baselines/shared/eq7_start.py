"""Starts for a fit of eq. 7: all pairs of B and C of a grid, held against the splines' Gram matrices.

Written out, the two squared sines of eq. 7 are linear in the products of (1, cos n theta, sin n theta) with
exp(-C r^2) (1, cos 2 B r, sin 2 B r). For a fold n and a pair (B, C) the best nine coefficients follow from a matrix
of nine rows. The radial functions are written in splines, so that the Gram matrices of the splines, computed once,
give these matrices for all pairs (variable projection: Golub and Pereyra, SIAM J. Numer. Anal. 10, 413, 1973).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.compiled import compiled
from shared.background import Background
from shared.harmonic_kernel import interpolated, sites, spline_columns
from shared.polar import Points
from shared.radial import spline_count

Values = NDArray[np.float64]

FOLDS = (0, 2, 3, 4, 6)

DECAY_RATIO = 1.4
"""Ratio of neighbouring decay lengths."""

B_STEP = 1.0
"""Steps of B times the decay length."""


@dataclass(frozen=True)
class Search:
    """Pairs of B and C, and their radial functions in splines.

    Attributes
    ----------
    spacing_nm
        Knot distance of the splines.
    pairs
        (pair, 2): B in rad/nm and C in 1/nm^2.
    envelope
        (pair,): row of ``functions`` with exp(-C r^2); rows 2 k and 2 k + 1 after the ``envelopes`` first ones are
        those of pair k.
    envelopes
        Number of different C.
    functions
        (function, spline) float32.
    """

    spacing_nm: float
    pairs: Values
    envelope: NDArray[np.int64]
    envelopes: int
    functions: NDArray[np.float32]

    def close(self, pair: int, other: int) -> bool:
        """Whether a descent from either pair probably ends in the same place."""
        (B, C), (B_other, C_other) = self.pairs[pair], self.pairs[other]
        return bool(
            max(C / C_other, C_other / C) < DECAY_RATIO**3 and abs(B - B_other) < 1.5 * B_STEP * min(C, C_other) ** 0.5
        )


@lru_cache(maxsize=8)
def search_of(pitch_nm: float, size_nm: float, reach_nm: float) -> Search:
    """Return the pairs for a grid: wavelengths from two pixels on, decay lengths from two pixels to a size."""
    spacing = pitch_nm
    decays = np.geomspace(
        2 * pitch_nm, size_nm, 1 + int(np.ceil(np.log(size_nm / (2 * pitch_nm)) / np.log(DECAY_RATIO)))
    )
    highest = np.pi / (2 * pitch_nm)
    r = sites(spline_count(reach_nm, spacing), spacing)
    envelopes, waves, pairs, row = [], [], [], []
    for k, decay in enumerate(decays):
        envelope = np.exp(-((r / decay) ** 2))
        envelopes.append(envelope)
        wavevectors = np.linspace(0, highest, max(3, int(np.ceil(highest * decay / B_STEP))))[1:]
        for B in wavevectors:
            waves += [envelope * np.cos(2 * B * r), envelope * np.sin(2 * B * r)]
            pairs.append((B, decay**-2.0))
            row.append(k)
    functions = interpolated(np.array(envelopes + waves), spacing).astype(np.float32)
    return Search(spacing, np.array(pairs), np.array(row), len(decays), np.ascontiguousarray(functions))


@dataclass(frozen=True)
class Start:
    """Where a descent may start: the fold, and phi1, B, phi2 and C."""

    fold: int
    parameters: Values


def starts(
    image: Values, pixels: Points, scatterers: Points, search: Search, *, most: int, background: Background
) -> list[Start]:
    """Return the most promising starts: the best of every fold, and others that are not close to each other.

    Parameters
    ----------
    image
        (pixel,) values, without the background.
    pixels, scatterers
        Places.
    search
        Pairs of B and C.
    most
        Number of starts.
    background
        What else the image shows.
    """
    scale = max(float(np.abs(image).max()), np.finfo(np.float64).tiny)
    scaled = (image / scale).astype(np.float32)
    columns = spline_columns(pixels, scatterers, FOLDS, search.spacing_nm, search.functions.shape[1])
    of_harmonic = np.ascontiguousarray(columns.transpose(2, 0, 1))
    if background.size:
        turned = np.ascontiguousarray(of_harmonic.transpose(0, 2, 1))
        background.remove(turned.reshape(-1, pixels.size))
        of_harmonic = np.ascontiguousarray(turned.transpose(0, 2, 1))
    linear = (of_harmonic.transpose(0, 2, 1) @ scaled) @ search.functions.T
    with_mean = search.functions @ (of_harmonic[0].T @ of_harmonic[0])
    squares = np.empty((len(FOLDS), len(search.pairs)))
    coefficients = []
    for k, fold in enumerate(FOLDS):
        rows = [0] if fold == 0 else [0, 2 * k - 1, 2 * k]
        blocks = np.zeros((len(rows), len(rows), *search.functions.shape), np.float32)
        blocks[0, 0] = with_mean
        for a in range(1, len(rows)):
            for b in range(a + 1):
                blocks[a, b] = search.functions @ (of_harmonic[rows[a]].T @ of_harmonic[rows[b]])
        squares[k], coefficient = solve_pairs(blocks, linear[rows], search.functions, search.envelope, search.envelopes)
        coefficients.append(coefficient)
    chosen: list[tuple[int, int]] = []
    first_of_fold = squares.argmin(axis=1)
    ranked = [(k, int(first_of_fold[k])) for k in np.argsort(squares.min(axis=1))]
    ranked += [divmod(int(i), len(search.pairs)) for i in np.argsort(squares, axis=None, kind="stable")]
    for k, pair in ranked:
        if not any(k == other and search.close(pair, near) for other, near in chosen):
            chosen.append((k, pair))
        if len(chosen) == most:
            break
    found = []
    for k, pair in chosen:
        phi1, phi2 = _split(FOLDS[k], coefficients[k][pair].reshape(-1, 3))
        B, C = search.pairs[pair]
        found.append(Start(FOLDS[k], np.array([phi1, B, phi2, C])))
    return found


def _split(fold: int, coefficient: Values) -> tuple[float, float]:
    """Phases phi1 and phi2 of the product of angular and radial factors nearest to coefficients (harmonic, 3)."""
    left, _, right = np.linalg.svd(coefficient)
    u, v = left[:, 0] * np.sign(left[0, 0]), right[0] * np.sign(right[0, 0])
    phi1 = 0.5 * np.arctan2(u[2], -u[1]) if fold else np.pi / 2
    return float(phi1), float(0.5 * np.arctan2(v[2], -v[1]))


@compiled(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def solve_pairs(blocks: Any, linear: Any, functions: Any, envelope: Any, envelopes: Any) -> Any:
    """Squares (pair,) that the best coefficients explain, negative, and these coefficients (pair, 3 harmonic).

    ``blocks`` (harmonic, harmonic, function, spline) are products of the functions with Gram matrices, of which the
    lower triangle is used, and ``linear`` (harmonic, function) products of the functions' columns with the image.
    """
    harmonics = len(linear)
    size = 3 * harmonics
    count = functions.shape[1]
    squares, coefficient = np.empty(len(envelope)), np.empty((len(envelope), size))
    lower, half = np.empty((size, size)), np.empty(size)
    rows = np.empty(3, np.int64)
    for k in range(len(envelope)):
        rows[0] = envelope[k]
        rows[1] = envelopes + 2 * k
        rows[2] = envelopes + 2 * k + 1
        largest = 0.0
        for a in range(harmonics):
            for i in range(3):
                half[3 * a + i] = linear[a, rows[i]]
                for b in range(a + 1):
                    for j in range(3):
                        product = np.float32(0)
                        for m in range(count):
                            product += blocks[a, b, rows[i], m] * functions[rows[j], m]
                        lower[3 * a + i, 3 * b + j] = product
                largest = max(largest, lower[3 * a + i, 3 * a + i])
        explained = 0.0
        for i in range(size):
            lower[i, i] = lower[i, i] * (1.0 + 1e-5) + 1e-7 * largest  # above the rounding of float32 sums
            for j in range(i + 1):
                total = lower[i, j]
                for m in range(j):
                    total -= lower[i, m] * lower[j, m]
                lower[i, j] = np.sqrt(max(total, 1e-12 * largest + 1e-300)) if i == j else total / lower[j, j]
            total = half[i]
            for m in range(i):
                total -= lower[i, m] * half[m]
            half[i] = total / lower[i, i]
            explained += half[i] * half[i]
        for i in range(size - 1, -1, -1):
            total = half[i]
            for m in range(i + 1, size):
                total -= lower[m, i] * coefficient[k, m]
            coefficient[k, i] = total / lower[i, i]
        squares[k] = -explained
    return squares, coefficient
