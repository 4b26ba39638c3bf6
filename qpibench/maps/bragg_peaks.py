"""Bragg peaks of a lattice in maps: their wavevectors, and the local amplitude and phase of a lattice wave.

Wavevectors are in rad/nm, 2 pi included, with qx first. Of the two peaks at q and -q one is named: that with qx > 0, or
with qy > 0 where qx is 0. On the edge of the transform, at the Nyquist wavevector, components are positive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.grid import Grid
from qpibench.maps.measurement import Channel, Maps
from qpibench.maps.smoothing import gaussian_weights, smoothed
from qpibench.pages.fourier import wavevectors

ABOVE = 10.0
"""Modulus of a Bragg peak over the background, at least. Sums of ripples reach eight times theirs."""

LEAST_PERIODS = 5
"""Periods of a lattice in the field, at least: longer waves are ripples or background."""

_BOX = 11  # points of the transform around a peak, the median of which is its background
_LEAST_RING = 3 * _BOX  # points of a ring, the median of which is a background, too
_APART = 3  # a peak is the highest within so many points


def find_peaks(values: NDArray[np.floating], grid: Grid, *, above: float = ABOVE, most: int = 6) -> NDArray[np.float64]:
    r"""Find sharp peaks of |FFT|, the highest first.

    The mean is removed and a Hann window applied. The moduli of all layers are averaged. The background of a peak is
    the larger of two medians: that of the box around it, and that of the ring of the same \|q\|, so that rings of
    ripples are no peaks. The place of a peak is the maximum of the transform, which may lie between its points.

    Parameters
    ----------
    values
        (..., y, x), NaN where nothing was measured.
    grid
        Its grid.
    above
        Least ratio of a peak to its background.
    most
        Number of peaks, at most.

    Returns
    -------
    ndarray
        (peak, xy) float64 in rad/nm; empty if there is none.
    """
    from scipy.ndimage import maximum_filter, median_filter

    windowed = _windowed(values, grid)
    modulus = np.abs(np.fft.fft2(windowed)).mean(axis=0)
    # Equal but for rounding at q and -q, which lie close together at the edge of the transform.
    modulus = np.fft.fftshift(np.maximum(modulus, np.roll(modulus[::-1, ::-1], 1, axis=(0, 1))))
    qy, qx = (wavevectors(n, pitch) for n, pitch in zip(grid.shape, (grid.pitch_y_nm, grid.pitch_x_nm), strict=True))
    step_y, step_x = qy[1] - qy[0], qx[1] - qx[0]
    ring = np.rint(np.hypot(qx, qy[:, None]) / max(step_x, step_y)).astype(int)
    # Rings in the corners have few points, most of which a peak there covers: they are one ring.
    ring = np.minimum(ring, np.flatnonzero(np.bincount(ring.ravel()) >= _LEAST_RING).max(initial=0) or ring.max())
    medians = np.array([np.median(modulus[ring == k]) for k in range(ring.max() + 1)])
    background = np.maximum(median_filter(modulus, _BOX, mode="wrap"), medians[ring])
    is_peak = (modulus > above * background) & (modulus == maximum_filter(modulus, 2 * _APART + 1, mode="wrap"))
    periods = np.hypot(qx / step_x, (qy / step_y)[:, None])
    # Of an even number of pixels, the first wavevector is that of Nyquist, and stands for q and -q.
    edge_y, edge_x = np.arange(grid.ny) < 1 - grid.ny % 2, np.arange(grid.nx) < 1 - grid.nx % 2
    qy, qx = np.where(edge_y, -qy, qy), np.where(edge_x, -qx, qx)
    is_named = ((qx > 0) & ~edge_x) | (((qx == 0) | edge_x) & (qy[:, None] >= 0))
    places = np.argwhere(is_peak & is_named & (periods >= LEAST_PERIODS))
    places = places[np.argsort(-modulus[tuple(places.T)])][:most]
    rough = np.stack([qx[places[:, 1]], qy[places[:, 0]]], axis=1)
    return np.array([_named(_highest(windowed, grid, q, (step_x, step_y)), grid) for q in rough]).reshape(-1, 2)


def reference_channel(maps: Maps, name: str | None) -> Channel:
    """The channel of a name or label that shows the lattice, or the first.

    Raises
    ------
    UsageError
        If there is no such channel.
    InvalidDataError
        If there is none at all.
    """
    if name is not None:
        return maps.channel(name)
    if not maps.channels:
        raise InvalidDataError(f"{maps.source.file} has no channel that could show a lattice.")
    return maps.channels[0]


def lattice_vectors(channel: Channel, grid: Grid, given: Any) -> NDArray[np.float64]:
    """The two wavevectors (2, xy) of a lattice: those given, or the two highest peaks in different directions.

    Raises
    ------
    UsageError
        If those given have no two directions.
    InvalidDataError
        If none are given and the channel has no two such peaks.
    """
    if given is not None:
        q = np.array(given, np.float64)
        if abs(np.linalg.det(q)) <= 1e-6 * np.prod(np.linalg.norm(q, axis=1)):
            raise UsageError(f"The wavevectors q_rad_nm = {q.tolist()} have no two directions; give two that do.")
        return q
    peaks = find_peaks(channel.values, grid)
    for second in peaks[1:]:
        if abs(_sine(peaks[0], second)) > 0.5:
            return np.array([peaks[0], second])
    raise InvalidDataError(
        f"'{channel.label}' has no Bragg peaks in two directions ({len(peaks)} found); choose another channel, or give"
        " q_rad_nm."
    )


def lattice_wave(
    layer: NDArray[np.inexact], grid: Grid, q: NDArray[np.float64], length_nm: float
) -> NDArray[np.complex128]:
    r"""Amplitude and phase of the wave of a wavevector at each point.

    .. math::

        A(\mathbf r) = \langle z(\mathbf r')\, e^{-i \mathbf q \mathbf r'} \rangle

    with the Gaussian mean over the measured points within about ``length_nm`` of each point. A wave
    :math:`a \cos(\mathbf q \mathbf r + \varphi)` gives :math:`\tfrac{a}{2} e^{i \varphi}`.

    Parameters
    ----------
    layer
        (y, x) of mean 0, NaN where nothing was measured.
    grid
        Its grid.
    q
        (xy,) in rad/nm.
    length_nm
        Standard deviation of the Gaussian.

    Returns
    -------
    ndarray
        (y, x) complex128.
    """
    weights = [gaussian_weights(length_nm / pitch) for pitch in (grid.pitch_y_nm, grid.pitch_x_nm)]
    return np.asarray(smoothed(layer * plane_wave(grid, -q), *weights), np.complex128)


def plane_wave(grid: Grid, q: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The wave exp(i q r) of a wavevector (xy,) in rad/nm, (y, x)."""
    wave: NDArray[np.complex128] = np.exp(1j * (q[0] * grid.x_nm + q[1] * grid.y_nm[:, None]))
    return wave


def overlap(q: NDArray[np.float64], grid: Grid, width_rad_nm: float) -> float:
    r"""Value at -q of the Gaussian :math:`e^{-d^2 / 2 w^2}` around a wavevector (xy,), 1 where both are the same wave.

    Pixels do not tell wavevectors apart that differ by twice the Nyquist wavevector, so q and -q are the same there.
    """
    twice = 2 * np.pi / np.array([grid.pitch_x_nm, grid.pitch_y_nm])
    apart = 2 * q - twice * np.round(2 * q / twice)
    return float(np.exp(-0.5 * (apart @ apart) / width_rad_nm**2))


def _named(q: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """The wavevector (xy,) of a peak, or its negative, within the transform."""
    largest = np.pi / np.array([grid.pitch_x_nm, grid.pitch_y_nm])
    inside = q - 2 * largest * np.ceil(q / (2 * largest) * (1 - 1e-9) - 0.5)
    return -inside if inside[0] < 0 or (inside[0] == 0 and inside[1] < 0) else inside


def _sine(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Sine of the angle between two vectors (xy,)."""
    cross = first[0] * second[1] - first[1] * second[0]
    return float(cross / (np.linalg.norm(first) * np.linalg.norm(second)))


def _windowed(values: NDArray[np.floating], grid: Grid) -> NDArray[np.float64]:
    """Layers (layer, y, x) without their means, times a Hann window; 0 where nothing was measured."""
    window = np.hanning(grid.ny + 2)[1:-1, None] * np.hanning(grid.nx + 2)[1:-1]
    layers = values.reshape(-1, *grid.shape).astype(np.float64)
    weights = np.where(np.isfinite(layers), window, 0.0)
    known = np.where(np.isfinite(layers), layers, 0.0)
    total = weights.sum(axis=(1, 2), keepdims=True)
    mean = (weights * known).sum(axis=(1, 2), keepdims=True) / np.where(total > 0, total, 1.0)
    windowed: NDArray[np.float64] = weights * (known - mean)
    return windowed


def _highest(
    windowed: NDArray[np.float64], grid: Grid, q: NDArray[np.float64], steps: tuple[float, float]
) -> NDArray[np.float64]:
    """The wavevector (xy,) near q where the transform of the layers is largest, also between its points."""
    from scipy.optimize import minimize

    def power(shift: NDArray[np.float64]) -> float:
        at_x, at_y = q + shift * steps
        rows = windowed @ np.exp(-1j * at_x * grid.x_nm)
        return -float((np.abs(rows @ np.exp(-1j * at_y * grid.y_nm)) ** 2).sum())

    start = power(np.zeros(2)) or -1.0
    simplex = [[0.0, 0.0], [0.3, 0.0], [0.0, 0.3]]
    options = {"initial_simplex": simplex, "xatol": 1e-5, "fatol": 1e-12}
    best = minimize(lambda shift: -power(shift) / start, np.zeros(2), method="Nelder-Mead", options=options)
    found: NDArray[np.float64] = q + np.clip(best.x, -1, 1) * steps
    return found
