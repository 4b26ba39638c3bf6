"""Scatterers of an exact activation map at their places between pixels.

The map gives each scatterer to its four nearest pixels by bilinear weights. Taken as four scatterers, they lower the
resolution: the kernel comes out too sharp, by a twelfth of the second difference at every pixel, and what single places
do to the image is left over. Their sum is 1 and their centroid is the place, so a scatterer whose pixels are its own is
found exactly, and a few that share pixels by least squares.
"""

from __future__ import annotations

from itertools import combinations_with_replacement, islice

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.optimize import least_squares

from shared.scatterers import Scatterers

Values = NDArray[np.float64]

ROUNDING = 1e-4
"""Largest difference of weights that is rounding, of float32 and of the fit."""

MOST = 4
"""Scatterers that share pixels, at most; more are left as pixels."""

CHOICES = 12
"""Ways to cover shared pixels that are tried."""

_CORNERS = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])


def gathered(scatterers: Scatterers) -> Scatterers:
    """Return the scatterers with a place and a strength of 1 each, where an exact map tells them.

    Scatterers that are told otherwise are returned as they are, and so are pixels that no few scatterers explain.
    """
    weight = scatterers.weight
    if any(scatterers.cell) or np.all(np.abs(weight - np.rint(weight)) < ROUNDING):
        return scatterers
    row, column = (np.rint(each).astype(np.intp) for each in (scatterers.row, scatterers.column))
    seen = np.zeros((row.max() + 1, column.max() + 1), dtype=np.bool_)
    seen[row, column] = True
    group = label(seen, structure=np.ones((3, 3)))[0][row, column]
    found = []
    for number in range(1, int(group.max()) + 1):
        own = group == number
        pixels = np.column_stack([row[own], column[own]])
        places = _places(pixels, weight[own])
        if places is None:
            found.append(np.column_stack([pixels, weight[own]]))
        else:
            found.append(np.column_stack([places, np.ones(len(places))]))
    row, column, strength = np.concatenate(found).T
    return Scatterers(row, column, strength)


def _places(pixels: NDArray[np.intp], weight: Values) -> Values | None:
    """Places (scatterer, 2) in rows and columns that give pixels (pixel, 2) their weights; None if there are none."""
    count = int(np.rint(weight.sum()))
    if not 1 <= count <= MOST or abs(weight.sum() - count) > ROUNDING * count:
        return None
    if count == 1:
        place: Values = (weight @ pixels)[None]
        return place if np.abs(_weights(place, pixels) - weight).max() < ROUNDING else None
    if 2 * count >= len(pixels):
        return None
    known = {tuple(pixel) for pixel in pixels}
    cells = [pixel for pixel in pixels if all(tuple(pixel + corner) in known for corner in _CORNERS)]
    for chosen in islice(combinations_with_replacement(cells, count), CHOICES):
        covered = {tuple(cell + corner) for cell in chosen for corner in _CORNERS}
        if covered != known:
            continue
        first = np.array(chosen, dtype=np.float64)
        found = least_squares(
            lambda inside, first=first: _weights(first + inside.reshape(-1, 2), pixels) - weight,
            np.linspace(0.4, 0.6, 2 * count),
            bounds=(0.0, 1.0),
        )
        if np.abs(found.fun).max() < ROUNDING:
            places: Values = first + found.x.reshape(-1, 2)
            return places
    return None


def _weights(places: Values, pixels: NDArray[np.intp]) -> Values:
    """Sum of the bilinear weights of places (scatterer, 2) at pixels (pixel, 2)."""
    apart = np.abs(places[:, None] - pixels)
    weights: Values = np.prod(np.maximum(1 - apart, 0.0), axis=-1).sum(axis=0)
    return weights
