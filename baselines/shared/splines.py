"""Cubic B-splines on a periodic lattice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

DEGREE = 3


def periodic_splines(place: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Values of the cubic B-splines of a lattice of unit spacing, (place, size) float64.

    Parameters
    ----------
    place
        (place,) anywhere; the lattice repeats after ``size``.
    size
        Points of the lattice, 4 at least; spline j has its centre on point j.
    """
    if not len(place):
        return np.empty((0, size))
    # SciPy's splines are not periodic: three of them cross an end of the lattice and are added to the points there.
    knots = np.arange(-DEGREE, size + DEGREE + 1, dtype=np.float64)
    inside = np.minimum(np.mod(place, size), np.nextafter(size, 0))
    values = BSpline.design_matrix(inside, knots, DEGREE).toarray()
    splines: NDArray[np.float64] = values[:, 1 : size + 1].copy()
    splines[:, -1] += values[:, 0]
    splines[:, :2] += values[:, size + 1 :]
    return splines
