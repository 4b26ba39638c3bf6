"""Wavevectors of a kernel's ripples: the strongest peaks of its spectrum along rays from the scatterer.

The kernel is sampled on rays from the scatterer, and the spectrum of a ray is a least-squares spectrum (Lomb-Scargle
with a floating mean; Zechmeister and Kuerster, Astron. Astrophys. 496, 577 (2009)): for every q, the energy of the ray
that ``e(r) (a + b cos q r + c sin q r)`` with free a, b, c explains. In contrast to the square of a two-dimensional
Fourier transform, its peak does not move with the phase of the ripples, and neither the offset nor the envelope e(r)
that the ripples share with it moves it.

The envelopes are Gaussians of several widths, of which every q gets the one that explains most. They fall as 1/r in
addition if the kernel has a core, as the waves around a point scatterer do. The rays end at the edge of the field, and
are weighted by ``r sin(pi t)``, where t goes from 0 at the core to 1 at the edge. The weight lowers the side lobes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from qpibench.physics.polar import inscribed_radii, on_rays, pixels_on_rays
from qpibench.physics.shapes import check_shape

DIRECTIONS = 12
"""Directions of :func:`direction_wavevectors` in the half circle; a real kernel has the same q in the other half."""

LEAST_Q = 1.5
"""Smallest wavevector that is looked for, in bins of 2 pi / L: smaller ones are those of offset and envelope."""

_RAYS = 48  # four for each direction: two in either half of the circle
_STEPS = 2  # wavevectors per bin 2 pi / L
_ENVELOPES = (0.2, 0.26, 0.34, 0.45, 0.6, 0.8, 1.1, 9.0)  # radii at which they are 1/e, over the length of a ray
_LEAST_HEIGHT = 1e-4  # of a peak, over the energy that the fit with its wavevector explains: rounding is not a peak
_ROUNDED = 1e-6  # of the distance of wavevectors: sums that round otherwise on another machine give the same peak
_CLEAR_POWER = 0.1  # of a direction's peak, over that of the strongest direction
_RIVAL = 0.5  # of the next peak of the same direction, over the strongest


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Wavevectors of the strongest peaks along directions.

    Attributes
    ----------
    wavevector
        (kernel, direction) rad/nm, 2 pi included; NaN without a peak.
    clear
        (kernel, direction) bool: whether there is a peak, with at least a tenth of the power of the strongest direction
        and with at least twice the height of the next peak of its direction.
    """

    wavevector: NDArray[np.float64]
    clear: NDArray[np.bool_]


def ring_wavevector(grid: Grid, kernel: NDArray[np.floating], *, core_nm: float = 0.0) -> NDArray[np.float64]:
    """Return the radius of the strongest ring of kernels: the peak of the spectrum summed over all rays.

    Parameters
    ----------
    grid
        Pixels of the kernels.
    kernel
        (kernel, y, x), finite, native units.
    core_nm
        Radius of the core, which is left out.

    Returns
    -------
    ndarray
        (kernel,) rad/nm, 2 pi included; NaN without a ring, as for zeros. It is from about 1.5 bins of 2 pi / L, with
        the smaller side L of the field, to the highest wavevector that the pixels resolve.

    Raises
    ------
    UsageError
        If the kernels do not have the shape of the grid.
    """
    check_shape("kernel", kernel, "kernel", *grid.shape)
    spectra = _Spectra(grid, core_nm)
    found = [spectra.peak(spectra.power(each).sum(axis=2).max(axis=0))[0] for each in kernel]
    return np.array(found, dtype=np.float64)


def direction_wavevectors(grid: Grid, kernel: NDArray[np.floating], *, core_nm: float = 0.0) -> Peaks:
    """Return the strongest peaks of kernels along the directions ``i pi / 12`` from the x axis.

    A direction has the rays within 7.5 degrees of it, those on the edges with half the weight, and the rays opposite to
    them. Parameters and errors are those of :func:`ring_wavevector`.
    """
    check_shape("kernel", kernel, "kernel", *grid.shape)
    spectra = _Spectra(grid, core_nm)
    wavevector = np.full((len(kernel), DIRECTIONS), np.nan)
    clear = np.zeros(wavevector.shape, dtype=np.bool_)
    for row, each in enumerate(kernel):
        power = spectra.power(each)
        half = power[..., : _RAYS // 2] + power[..., _RAYS // 2 :]
        sectors = half + (np.roll(half, 1, axis=-1) + np.roll(half, -1, axis=-1)) / 2
        peaks = [spectra.peak(sector) for sector in sectors[..., ::2].max(axis=0).T]
        wavevector[row], height, rival = np.array(peaks).T
        clear[row] = (height > 0) & (height >= _CLEAR_POWER * height.max()) & (rival <= _RIVAL * height)
    return Peaks(wavevector=wavevector, clear=clear)


class _Spectra:
    """Spectra of kernels on one grid."""

    def __init__(self, grid: Grid, core_nm: float) -> None:
        self.q, self._weight, self._bases, self._pixels = _prepared(grid, core_nm)

    def power(self, kernel: NDArray[np.floating]) -> NDArray[np.float64]:
        """Explained energy of every ray of a kernel (y, x), (envelope, q, ray)."""
        scale = float(np.abs(kernel).max())
        rays = on_rays(kernel / scale if scale > 0 else kernel, self._pixels)
        amplitudes = self._bases @ (rays * self._weight).T
        explained: NDArray[np.float64] = (amplitudes**2).reshape(len(_ENVELOPES), len(self.q), 3, _RAYS).sum(axis=2)
        return explained

    def peak(self, power: NDArray[np.float64]) -> tuple[float, float, float]:
        """Wavevector of the highest peak of a spectrum (q,), its height, and that of the next one; NaN, 0, 0 if none.

        The wavevector is that of the parabola through the highest point and its neighbours. Heights are those above the
        lowest point.
        """
        if len(power) < 3:
            return np.nan, 0.0, 0.0
        inner = power[1:-1]
        places = 1 + np.nonzero((inner > power[:-2]) & (inner >= power[2:]))[0]
        if not len(places):
            return np.nan, 0.0, 0.0
        heights = power[places] - power.min()
        order = np.argsort(heights)
        best, height = places[order[-1]], float(heights[order[-1]])
        if height <= _LEAST_HEIGHT * power[best]:
            return np.nan, 0.0, 0.0
        before, at, after = (float(power[best + step]) for step in (-1, 0, 1))
        offset = (before - after) / (2 * (before - 2 * at + after))
        rival = float(heights[order[-2]]) if len(places) > 1 else 0.0
        return float(self.q[best] + round(offset / _ROUNDED) * _ROUNDED * (self.q[1] - self.q[0])), height, rival


@lru_cache(maxsize=4)
def _prepared(
    grid: Grid, core_nm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Wavevectors (q,), weights (r,), orthonormal fitted functions (envelope * q * 3, r), and pixels (2, ray, r)."""
    side = min(grid.size_x_nm, grid.size_y_nm)
    pitch = max(grid.pitch_x_nm, grid.pitch_y_nm)
    step = 2 * np.pi / side / _STEPS
    q = np.arange(LEAST_Q * _STEPS - 1, np.floor(np.pi / pitch / step) + 1) * step
    r, length = inscribed_radii(grid), side / 2
    weight = np.where(r > core_nm, r * np.sin(np.pi * (r - core_nm) / (length - core_nm)), 0.0) / length
    waves = np.stack([np.ones((len(q), len(r))), np.cos(q[:, None] * r), np.sin(q[:, None] * r)], axis=-1)
    bases = []
    for width in _ENVELOPES:
        envelope = weight * np.exp(-((r / (width * length)) ** 2))
        if core_nm > 0:
            envelope = envelope * length / np.maximum(r, core_nm)
        bases.append(np.linalg.qr(envelope[:, None] * waves)[0].transpose(0, 2, 1))
    return q, weight, np.concatenate(bases).reshape(-1, len(r)), pixels_on_rays(grid, r, _RAYS)
