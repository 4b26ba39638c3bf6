r"""Bragg: the waves of the lattice are removed, also where drift bends them.

The corrugation of a lattice is a sum of waves with the wavevectors $\mathbf q$ of its Bragg peaks. Each is measured
from place to place by a Gaussian mean over the length $\ell = 1 / w$ around each point, and subtracted:

$$A(\mathbf r) = \langle z(\mathbf r')\, e^{-i \mathbf q \mathbf r'} \rangle_\ell, \qquad
z(\mathbf r) \to z(\mathbf r) - 2\, \mathrm{Re} \left[ A(\mathbf r)\, e^{i \mathbf q \mathbf r} \right].$$

In the Fourier transform this is a notch with a soft edge at $\pm \mathbf q$: at the distance $k$ from it the factor is
$1 - e^{-k^2 / 2 w^2}$. Unlike a notch, it needs no periodic map and passes over points that were not measured. Within
about $\ell$ of an edge the mean has one side only, so ripples of other wavevectors lose a few percent there. Where
pixels hardly tell $\mathbf q$ from $-\mathbf q$, at the distance $d < w$ from it, as at the Nyquist wavevector, both
notches are one, and the factor 2 is $2 / (1 + e^{-d^2 / 2 w^2})$.

The wavevectors are given, or found in each channel as the sharp peaks of |FFT| that are ``above`` times higher than the
median around them and than the median of all points with the same |q|. The step records them. A peak whose wave has
fewer than five periods in the field is not looked for.

Source: Fourier filtering of lattices, by the local means of Lawler et al., Nature 466, 347 (2010),
doi:10.1038/nature09169; the criterion of peaks is our own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.maps.bragg_peaks import ABOVE, find_peaks, lattice_wave, overlap, plane_wave
from qpibench.maps.measurement import Maps
from qpibench.maps.preparation import ChannelSettings, Found, chosen_channels, each_layer

KIND = "lattice"


class Settings(ChannelSettings):
    """Settings of the removal of Bragg peaks."""

    q_rad_nm: tuple[tuple[float, float], ...] | None = Field(
        default=None, description="qx and qy of each peak, one of q and -q; found by default"
    )
    width_rad_nm: float | None = Field(
        default=None,
        gt=0,
        description="width w of a notch; by default three points of the transform of the shorter side",
    )
    above: float = Field(default=ABOVE, gt=1, description="height of a peak that is found, over its background")
    most: int = Field(default=6, ge=1, le=100, description="number of peaks that are found, at most")


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Remove the lattice from the chosen channels; see :class:`qpibench.maps.preparation.Preparation`."""
    grid = maps.grid
    width = settings.width_rad_nm or 6 * np.pi / min(grid.size_x_nm, grid.size_y_nm)
    labels = {one.label for one in chosen_channels(maps, settings.channels)}
    channels, found = [], {}
    for one in maps.channels:
        if one.label not in labels:
            channels.append(one)
            continue
        given: Any = settings.q_rad_nm
        peaks = (
            find_peaks(one.values, grid, above=settings.above, most=settings.most)
            if given is None
            else _told(given, grid)
        )

        def without(layer: NDArray[np.float64], peaks: NDArray[np.float64] = peaks) -> NDArray[np.float64]:
            return _without(layer, grid, peaks, 1 / width)

        channels.append(replace(one, values=each_layer(one.values, without)))
        found[one.label] = peaks.round(6).tolist()
    return replace(maps, channels=tuple(channels)), {"q_rad_nm": found, "width_rad_nm": float(width)}


def _told(q_rad_nm: Any, grid: Grid) -> NDArray[np.float64]:
    """Peaks that the user tells, which the pixels must resolve."""
    peaks, largest = np.array(q_rad_nm, np.float64).reshape(-1, 2), np.pi / np.array([grid.pitch_x_nm, grid.pitch_y_nm])
    if (np.abs(peaks) > largest + 1e-6).any():  # recorded ones are rounded
        raise UsageError(
            f"The largest wavevectors of the map are {largest[0]:.4g} and {largest[1]:.4g} rad/nm along x and y, found"
            f" the peaks {peaks.tolist()}."
        )
    return peaks


def _without(
    layer: NDArray[np.float64], grid: Grid, peaks: NDArray[np.float64], length_nm: float
) -> NDArray[np.float64]:
    mean = np.nanmean(layer)
    rest = layer - mean
    for q in peaks:
        share = 2 / (1 + overlap(q, grid, 1 / length_nm))
        rest = rest - share * (lattice_wave(rest, grid, q, length_nm) * plane_wave(grid, q)).real
    return np.asarray(rest + mean if len(peaks) else layer, np.float64)
