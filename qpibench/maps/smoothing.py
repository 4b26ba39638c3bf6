"""Smoothing over measured points: settings of strength, and separable filters that ignore what was not measured."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from qpibench.parsing import shown


def _known(strength: Any) -> Any:
    if strength in ("light", "heavy"):
        return strength
    try:
        if 0 <= float(strength) <= 1:
            return float(strength)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"should be light, heavy or a number from 0 to 1, found {shown(strength)}")


Strength = Annotated[Literal["light", "heavy"] | Annotated[float, Field(ge=0, le=1)], BeforeValidator(_known)]
"""Strength of the denoising of arXiv:2506.05325, 0 to 1: light is 0.3, heavy 0.7."""


def strength_number(strength: Strength) -> float:
    """The number of a strength."""
    return {"light": 0.3, "heavy": 0.7}[strength] if isinstance(strength, str) else strength


def gaussian_weights(radius_px: float) -> NDArray[np.float64]:
    """Weights of a Gaussian whose standard deviation is ``radius_px``, cut at 4 of them; their number is odd."""
    reach = max(1, round(4 * radius_px))
    weights: NDArray[np.float64] = np.exp(-0.5 * (np.arange(-reach, reach + 1) / radius_px) ** 2)
    return weights


def box_weights(radius_px: float) -> NDArray[np.float64]:
    """Weights of a box of the width 2 ``radius_px`` + 1; the fraction of a pixel at either end counts as a fraction."""
    reach = int(np.ceil(radius_px))
    weights = np.ones(2 * reach + 1)
    if reach:
        weights[[0, -1]] = radius_px - (reach - 1)
    return weights


def smoothed(
    layer: NDArray[np.inexact], weights_y: NDArray[np.float64], weights_x: NDArray[np.float64]
) -> NDArray[np.inexact]:
    """Return weighted means over the measured points around each point.

    Parameters
    ----------
    layer
        (y, x), real or complex; NaN where nothing was measured.
    weights_y, weights_x
        Weights along either axis, an odd number each; those outside the map, and of points that were not measured, do
        not count.

    Returns
    -------
    ndarray
        (y, x) of the same kind in double precision; NaN only where no point within reach was measured.
    """
    measured = np.isfinite(layer)
    share = _filtered(measured.astype(np.float64), weights_y, weights_x)
    total = _filtered(np.where(measured, layer, 0), weights_y, weights_x)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(share > 0, total / share, np.nan)


def _filtered(
    values: NDArray[np.inexact], weights_y: NDArray[np.float64], weights_x: NDArray[np.float64]
) -> NDArray[np.inexact]:
    from scipy.ndimage import convolve1d

    if np.iscomplexobj(values):
        return _filtered(values.real, weights_y, weights_x) + 1j * _filtered(values.imag, weights_y, weights_x)
    along_y = convolve1d(values, weights_y, axis=0, mode="constant", output=np.float64)
    filtered: NDArray[np.float64] = convolve1d(along_y, weights_x, axis=1, mode="constant")
    return filtered
