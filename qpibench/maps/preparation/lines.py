r"""Lines: scan lines are levelled with one another.

Set point and drift differ from line to line, so maps have stripes along the scan lines, which are the rows. The method
``median`` subtracts an offset $c_i$ from each line, such that neighbouring lines differ by 0 in the median:

$$c_i = c_{i-1} + \mathrm{median}_x \left[ z(x, y_i) - z(x, y_{i-1}) \right], \qquad \sum_i c_i = 0,$$

over the points that are measured in both; a line without a measured point is passed over. Structures that are narrower
than half a line do not count in a median, so it keeps ripples better than a mean. The errors of the offsets add up from
line to line, so a slow bend along y may remain, which the step ``plane`` removes.

No method can tell offsets from structures that are constant along x. In 40 images each of the specs ``ag111_64``,
``cu111_64``, ``square_64`` and ``nematic_64`` without offsets, the medians change 16, 17, 9 and 11 % of the image
(median of the root mean squares, planes removed); in those of ``paper``, whose kernels have a broad background, 51 %
(``python docs/undamaged_ripples.py``).

The method ``polynomial`` subtracts the polynomial of least squares of each line, of the order 0, 1 or 2. Order 0
removes the mean of each line, so it also removes everything in the Fourier transform with $q_x = 0$.

Source: the line correction of SPM programs; see Nečas and Klapetek, Cent. Eur. J. Phys. 10, 181 (2012),
doi:10.2478/s11534-011-0096-2.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qpibench.maps.measurement import Maps
from qpibench.maps.preparation import ChannelSettings, Found, changed

KIND = "levelling"


class Settings(ChannelSettings):
    """Settings of the levelling of lines."""

    method: Literal["median", "polynomial"] = Field(default="median", description="how lines are levelled")
    order: int = Field(default=0, ge=0, le=2, description="order of the polynomial of each line")


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Level the lines of the chosen channels; see :class:`qpibench.maps.preparation.Preparation`."""

    def levelled(layer: NDArray[np.float64]) -> NDArray[np.float64]:
        return _by_medians(layer) if settings.method == "median" else _by_polynomials(layer, settings.order)

    return changed(maps, settings.channels, levelled), {}


def _by_medians(layer: NDArray[np.float64]) -> NDArray[np.float64]:
    lines = np.flatnonzero(np.isfinite(layer).any(axis=1))
    steps = np.zeros(len(lines))
    for k in range(1, len(lines)):
        difference = layer[lines[k]] - layer[lines[k - 1]]
        in_both = difference[np.isfinite(difference)]
        steps[k] = np.median(in_both) if len(in_both) else 0.0  # nothing tells how they differ
    offsets = np.cumsum(steps)
    levelled = layer.copy()
    levelled[lines] -= (offsets - offsets.mean())[:, None]
    return levelled


def _by_polynomials(layer: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    terms = np.vander(np.linspace(-1, 1, layer.shape[1]), order + 1)
    levelled = layer.copy()
    for line in levelled:
        measured = np.isfinite(line)
        line -= terms @ np.linalg.lstsq(terms[measured], line[measured], rcond=None)[0] if measured.any() else 0.0
    return levelled
