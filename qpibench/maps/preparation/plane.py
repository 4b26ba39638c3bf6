r"""Plane: the polynomial of least squares is subtracted from every map.

The sample is tilted, and scanners bend. From the values $z$ at the measured points the step subtracts

$$p(x, y) = \sum_{i + j \le n} c_{ij}\, x^i y^j, \qquad
\sum_{\text{measured}} \left[ z(x, y) - p(x, y) \right]^2 \to \min,$$

of the order $n$: 0 subtracts the mean, 1 a plane, 2 a bowl as well. The result has the mean 0.

Source: levelling of SPM programs; see Nečas and Klapetek, Cent. Eur. J. Phys. 10, 181 (2012),
doi:10.2478/s11534-011-0096-2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qpibench.maps.measurement import Maps
from qpibench.maps.preparation import ChannelSettings, Found, changed

KIND = "levelling"


class Settings(ChannelSettings):
    """Settings of the levelling by a polynomial."""

    order: int = Field(default=1, ge=0, le=2, description="order of the polynomial")


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Level the chosen channels; see :class:`qpibench.maps.preparation.Preparation`."""
    y, x = (axis.ravel() for axis in np.meshgrid(*(np.linspace(-1, 1, n) for n in maps.grid.shape), indexing="ij"))
    powers = [(i, j) for i in range(settings.order + 1) for j in range(settings.order + 1 - i)]
    terms = np.stack([x**i * y**j for i, j in powers], axis=1)

    def levelled(layer: NDArray[np.float64]) -> NDArray[np.float64]:
        values = layer.ravel()
        measured = np.isfinite(values)
        fitted = np.linalg.lstsq(terms[measured], values[measured], rcond=None)[0]
        return layer - (terms @ fitted).reshape(layer.shape)

    return changed(maps, settings.channels, levelled), {}
