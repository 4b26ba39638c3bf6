"""What an instrument adds to an image, projected out of its fit: :class:`Background`.

To project the columns of :func:`shared.nuisance.of_instrument` out of the image and of its model is to fit them with
amplitudes of which nothing is known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.compiled import compiled
from shared.nuisance import SETS, of_instrument
from shared.polar import Points


class Background(NamedTuple):
    """Columns of a background.

    Attributes
    ----------
    smooth
        (column, pixel) float64: orthonormal, and without a mean on any scan line if there are lines.
    first
        (line + 1,): number of the first pixel of every scan line, then the number of pixels. (0,) without lines.
    """

    smooth: NDArray[np.float64]
    first: NDArray[np.int64]

    @staticmethod
    def of(pixels: Points, nuisance: str) -> Background:
        """The background of one of the sets :data:`shared.nuisance.SETS`.

        Parameters
        ----------
        pixels
            Places of the pixels, row by row.
        nuisance
            Name of the set.
        """
        first = np.zeros(0, np.int64)
        rows = of_instrument(pixels, "offset and tilt" if nuisance == SETS[-1] else nuisance).smooth.T.copy()
        if nuisance == SETS[-1]:
            starts = 1 + np.flatnonzero(np.diff(pixels.y))
            first = np.concatenate([[0], starts, [pixels.size]])
            rows = rows[1:2].copy()  # lines along x have offset and tilt along y
            remove_lines(rows, first)
        smooth = np.ascontiguousarray(np.linalg.qr(rows.T)[0].T)
        return Background(smooth, first)

    @property
    def size(self) -> int:
        """Number of columns."""
        return len(self.smooth) + max(len(self.first) - 1, 0)

    def remove(self, values: NDArray[np.floating]) -> None:
        """Project the background out of values (row, pixel), in place."""
        if self.size:
            remove(values, self.smooth, self.first)

    def removed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (pixel,) without the background."""
        left = values.copy()
        self.remove(left[None])
        return left


@compiled(nogil=True, error_model="numpy")
def remove_lines(values: Any, first: Any) -> None:
    """Take the mean of every line from values (row, pixel), in place."""
    for k in range(values.shape[0]):
        for line in range(len(first) - 1):
            total = 0.0
            for p in range(first[line], first[line + 1]):
                total += values[k, p]
            mean = total / max(first[line + 1] - first[line], 1)
            for p in range(first[line], first[line + 1]):
                values[k, p] -= mean


@compiled(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def remove(values: Any, smooth: Any, first: Any) -> None:
    """Project lines and smooth columns (column, pixel) out of values (row, pixel), in place."""
    remove_lines(values, first)
    for k in range(values.shape[0]):
        for column in range(smooth.shape[0]):
            product = 0.0
            for p in range(values.shape[1]):
                product += smooth[column, p] * values[k, p]
            for p in range(values.shape[1]):
                values[k, p] -= product * smooth[column, p]
