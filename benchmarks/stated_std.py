"""Coverage of stated standard deviations: the share of pixels whose error is within a multiple of the stated one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from qpibench.grid import Grid

Values = NDArray[np.float64]

LEVELS = (0.6827, 0.95)
"""Shares of a normal distribution within 1 and 1.96 standard deviations."""

ENERGY = 0.99
"""Share of a kernel's energy within the radius of the counted pixels."""


def coverage(error: Values, std: Values, counted: NDArray[np.bool_]) -> Values:
    """Share of the counted pixels whose error is within the normal interval of each level.

    Parameters
    ----------
    error, std
        (n, y, x) errors of predicted kernels, and their stated standard deviations.
    counted
        (n, y, x) pixels to count, at least one of each image.

    Returns
    -------
    ndarray
        (level, n) float64.
    """
    factor = ndtri((1 + np.array(LEVELS)) / 2)[:, None, None, None]
    within = (np.abs(error) <= factor * std) & counted
    share: Values = within.sum(axis=(2, 3)) / counted.sum(axis=(1, 2))
    return share


def energy_pixels(kernel: Values, grid: Grid, share: float = ENERGY) -> NDArray[np.bool_]:
    """Pixels of (n, y, x) kernels within the least radius that holds a share of the kernel's energy, sum of K^2."""
    r = np.hypot(grid.x_nm, grid.y_nm[:, None]).ravel()
    order = np.argsort(r, kind="stable")
    energy = np.cumsum((kernel.reshape(len(kernel), -1) ** 2)[:, order], axis=1)
    last = (energy >= share * energy[:, -1:]).argmax(axis=1)
    # 1e-9: the pixels of a circle differ in their last digits.
    within: NDArray[np.bool_] = r <= r[order][last][:, None] * (1 + 1e-9)
    return within.reshape(kernel.shape)
