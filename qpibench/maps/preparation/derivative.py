r"""Derivative: dI/dV from currents along the bias.

A polynomial of the order $n$ is fitted to the current around each bias $V_i$, and its slope at $V_i$ is the result:

$$\frac{dI}{dV}(V_i) = c_1, \qquad
\sum_j w_{ij} \Big[ I(V_j) - \sum_{k \le n} c_k\, (V_j - V_i)^k \Big]^2 \to \min.$$

The filter ``savitzky_golay`` gives the weight 1 to ``window`` neighbouring biases and 0 to the others; at the ends of
the sweep the window is shifted. The filter ``gaussian`` gives all the weights $w_{ij} = e^{-(V_j - V_i)^2 / 2
\sigma^2}$. Both need no equal steps, and the biases may fall. Points of a spectrum that were not measured are passed
over.

The result is a channel ``dI/dV of NAME`` in A/V, beside the current. Structures narrower than the window, or than
about $2.5\, \sigma$, are smoothed.

Source: Savitzky and Golay, Anal. Chem. 36, 1627 (1964), doi:10.1021/ac60214a047; for unequal steps the same fit is made
at each bias.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from qpibench.counting import counted
from qpibench.errors import UsageError
from qpibench.maps.measurement import Channel, Maps
from qpibench.maps.preparation import ChannelSettings, Found
from qpibench.maps.spectra import bias_v, derivative_matrix, spectra, with_channels

KIND = "spectra"


class Settings(ChannelSettings):
    """Settings of a derivative; its channels are all currents along the axis by default."""

    filter: Literal["savitzky_golay", "gaussian"] = Field(default="savitzky_golay", description="weights of the fit")
    window: int = Field(default=7, ge=3, le=999, description="odd number of biases of the filter savitzky_golay")
    order: int = Field(default=2, ge=1, le=6, description="order n of the polynomial")
    width_mev: float | None = Field(
        default=None, gt=0, description="standard deviation of the filter gaussian, in mV of bias"
    )

    @model_validator(mode="after")
    def _possible(self) -> Settings:
        if self.filter == "gaussian" and self.width_mev is None:
            raise ValueError("the filter gaussian needs width_mev")
        if self.filter == "savitzky_golay" and (self.window % 2 == 0 or self.window <= self.order):
            raise ValueError(f"the window {self.window} must be odd and larger than the order {self.order}")
        return self


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Add the derivatives of currents; see :class:`qpibench.maps.preparation.Preparation`."""
    bias = bias_v(maps)
    currents = spectra(maps, settings.channels, "current")
    least = settings.window if settings.filter == "savitzky_golay" else settings.order + 1
    if len(bias) < least:
        raise UsageError(
            f"The maps have {counted(len(bias), 'bias', 'biases')}, and the filter needs {least};"
            " choose a smaller window."
        )
    added = [
        Channel(
            name=f"dI/dV of {one.name}",
            unit=f"{one.unit or '1'}/V",
            values=_derived(one.values, bias, settings),
            direction=one.direction,
        )
        for one in currents
    ]
    return replace(maps, channels=with_channels(maps.channels, added)), {}


def _derived(values: NDArray[np.floating], bias: NDArray[np.float64], settings: Settings) -> NDArray[np.floating]:
    flat = values.reshape(len(bias), -1)
    measured = np.isfinite(flat)
    result = np.full_like(flat, np.nan)
    # Spectra with the same missing points share a fit: all in a finished map, few kinds in others.
    kinds, kind = np.unique(np.packbits(measured, axis=0), axis=1, return_inverse=True)
    for k in range(kinds.shape[1]):
        columns = np.flatnonzero(kind.ravel() == k)
        rows = np.flatnonzero(measured[:, columns[0]])
        if len(rows) > settings.order:
            matrix = _matrix(bias[rows], settings)
            result[np.ix_(rows, columns)] = matrix @ flat[np.ix_(rows, columns)].astype(np.float64)
    return result.reshape(values.shape)


def _matrix(bias: NDArray[np.float64], settings: Settings) -> NDArray[np.float64]:
    if settings.filter == "gaussian":
        return derivative_matrix(bias, order=settings.order, width=1e-3 * (settings.width_mev or 1.0))
    return derivative_matrix(bias, order=settings.order, window=settings.window)
