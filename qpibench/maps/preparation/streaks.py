r"""Streaks: horizontal scars, where the tip lost the surface for a moment, are found and filled.

A scar is a run of points along a scan line, at most ``most_lines`` lines high, that lie above both neighbouring lines,
or below both. With the lines $a$ below and $b$ above a band of lines $i \dots j$, its excess is

$$e(x) = \min_{i \le k \le j} z(x, y_k) - \max\left[ z(x, y_a), z(x, y_b) \right]$$

and the same of $-z$ for dark scars. A run counts if $e$ exceeds ``soft_threshold`` times $s$ at ``least_px``
neighbouring points or more, and ``threshold`` times $s$ at one of them. The scale $s$ is 1.4826 times the median of the
absolute differences of neighbouring lines. The excess of one plane wave does not exceed $2\, s$. Scars on the first and
on the last line are not found. In images without scars, the default thresholds mark 0.1 % of the points of surface
states, 0.2 and 0.4 % of those of the bands ``square_64`` and ``nematic_64``, and none of ``paper``; all are ripples
(``python docs/undamaged_ripples.py``).

The points of scars are filled by linear interpolation along y. The step records their number for each channel.

Source: the scars of SPM programs; see Nečas and Klapetek, Cent. Eur. J. Phys. 10, 181 (2012),
doi:10.2478/s11534-011-0096-2; the scale and the thresholds are our own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qpibench.maps.measurement import Maps
from qpibench.maps.preparation import ChannelSettings, Found, chosen_channels, each_layer

KIND = "levelling"


class Settings(ChannelSettings):
    """Settings of the removal of scars."""

    threshold: float = Field(default=4.0, gt=0, description="excess of one point of a scar, in scales of differences")
    soft_threshold: float = Field(default=2.0, gt=0, description="excess of every point of a scar, in the same unit")
    least_px: int = Field(default=12, ge=1, description="length of the shortest scar")
    most_lines: int = Field(default=3, ge=1, le=16, description="height of the highest scar")


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Fill the scars of the chosen channels; see :class:`qpibench.maps.preparation.Preparation`."""
    labels = {one.label for one in chosen_channels(maps, settings.channels)}
    channels, filled_px = [], {}
    for one in maps.channels:
        if one.label not in labels:
            channels.append(one)
            continue
        counts: list[int] = []

        def filled(layer: NDArray[np.float64], counts: list[int] = counts) -> NDArray[np.float64]:
            scars = _scars(layer, settings)
            counts.append(int(scars.sum()))
            return _interpolated(layer, scars)

        channels.append(replace(one, values=each_layer(one.values, filled)))
        filled_px[one.label] = sum(counts)
    return replace(maps, channels=tuple(channels)), {"filled_px": filled_px}


def _scars(layer: NDArray[np.float64], settings: Settings) -> NDArray[np.bool_]:
    from scipy.ndimage import label

    differences = np.abs(np.diff(layer, axis=0))
    differences = differences[np.isfinite(differences)]
    scars = np.zeros(layer.shape, bool)
    if not differences.any():
        return scars
    scale = 1.4826 * np.median(differences) or np.sqrt(np.mean(differences**2))
    for sign in (1, -1):
        excess = _excess(sign * layer, settings.most_lines) / scale
        runs, count = label(excess > settings.soft_threshold, structure=[[0, 0, 0], [1, 1, 1], [0, 0, 0]])
        lengths = np.bincount(runs.ravel(), minlength=count + 1)
        high = np.bincount(runs.ravel(), weights=(excess > settings.threshold).ravel(), minlength=count + 1)
        is_scar = (lengths >= settings.least_px) & (high > 0)
        is_scar[0] = False
        scars |= is_scar[runs]
    return scars


def _excess(values: NDArray[np.float64], most_lines: int) -> NDArray[np.float64]:
    """How far each point lies above the lines around the highest band through it; -inf where that is not measured."""
    measured = np.where(np.isfinite(values), values, -np.inf)
    highest = np.full(values.shape, -np.inf)
    for lines in range(1, min(most_lines, len(values) - 2) + 1):
        windows = np.lib.stride_tricks.sliding_window_view(measured, lines, axis=0)[1:-1]
        around = np.maximum(values[: -lines - 1], values[lines + 1 :])
        excess = np.where(np.isfinite(around), windows.min(axis=-1) - around, -np.inf)
        for k in range(lines):
            part = highest[1 + k : 1 + k + len(excess)]
            np.maximum(part, excess, out=part)
    return highest


def _interpolated(layer: NDArray[np.float64], scars: NDArray[np.bool_]) -> NDArray[np.float64]:
    filled, rows = layer.copy(), np.arange(len(layer))
    known = np.isfinite(layer) & ~scars
    for x in np.flatnonzero(scars.any(axis=0)):
        column, told = scars[:, x], known[:, x]
        filled[column, x] = np.interp(rows[column], rows[told], layer[told, x])
    return filled
