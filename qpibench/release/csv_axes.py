"""Decides from the images of a CSV file which of their axes is x."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qpibench.release.csv_file import CsvFile
from qpibench.release.csv_layout import AxisOrder

FILES = 4
IMAGES_PER_FILE = 4


def forward_residuals(parts: Sequence[CsvFile]) -> dict[AxisOrder, float]:
    """Compare images with the superposition of their kernel, in both axis orders.

    Parameters
    ----------
    parts
        The files; a few images of a few of them are looked at.

    Returns
    -------
    dict
        Norm of the difference over norm of the images. It does not vanish in the right order, because a kernel that
        is known on its own window only cannot be superposed to the edges of the field.
    """
    difference = {"x_first": 0.0, "y_first": 0.0}
    total = 0.0
    for p in _evenly(len(parts), FILES):
        part = parts[p]
        for i in _evenly(len(part.image), IMAGES_PER_FILE):
            image, position_nm = part.image[i].astype(np.float64), part.position_nm[i]
            total += float((image**2).sum())
            difference["x_first"] += float(((image - _superpose(part, position_nm)) ** 2).sum())
            difference["y_first"] += float(((image - _superpose(part, position_nm[:, ::-1])) ** 2).sum())
    scale = total or 1.0
    return {
        "x_first": float(np.sqrt(difference["x_first"] / scale)),
        "y_first": float(np.sqrt(difference["y_first"] / scale)),
    }


def _evenly(count: int, wanted: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, wanted))})


def _superpose(part: CsvFile, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Superpose a tabulated kernel, zero outside its window; positions in the order of the array's axes."""
    from scipy.interpolate import RectBivariateSpline

    pixels = part.grid.x_nm
    degree = min(3, len(pixels) - 1)
    spline = RectBivariateSpline(pixels, pixels, part.kernel.astype(np.float64), kx=degree, ky=degree)
    image = np.zeros(part.grid.shape)
    for slow, fast in position:
        rows = np.flatnonzero(np.abs(pixels - slow) <= pixels[-1])
        columns = np.flatnonzero(np.abs(pixels - fast) <= pixels[-1])
        image[np.ix_(rows, columns)] += spline(pixels[rows] - slow, pixels[columns] - fast)
    return image
