"""Scatterers of an exact activation map, brought back to their places."""

import numpy as np
import pytest
from shared.gathered import gathered
from shared.scatterers import Scatterers

from qpibench.grid import Grid
from qpibench.physics.activation import activation_map

GRID = Grid(ny=32, nx=40, size_y_nm=31.0, size_x_nm=39.0)  # 1 nm a pixel


def of_map(places):
    """What an exact map of places (scatterer, 2), x and y in pixels from the first one, tells."""
    marks = activation_map(GRID, np.array(places)[None] - [19.5, 15.5], mode="exact")[0].astype(np.float64)
    row, column = np.nonzero(marks)
    return Scatterers(row.astype(np.float64), column.astype(np.float64), marks[marks != 0])


def found(places):
    one = gathered(of_map(places))
    order = np.lexsort([one.row, one.column])
    return np.column_stack([one.column, one.row])[order], one.weight


@pytest.mark.parametrize(
    "places",
    [
        [(3.25, 4.5), (20.0, 10.75), (30.0, 20.0)],
        [(3.25, 4.5), (4.6, 5.2)],
        [(7.1, 8.9), (8.3, 8.2), (9.7, 9.4)],
        [(0.0, 0.3), (38.9, 30.99)],
    ],
    ids=["alone", "two that share a pixel", "three in a row", "at the edges"],
)
def test_scatterers_are_found_between_the_pixels(places):
    got, strength = found(places)
    assert got == pytest.approx(np.array(sorted(places)), abs=1e-4)
    assert (strength == 1).all()


def test_pixels_that_many_scatterers_share_are_kept():
    crowd = np.random.default_rng(0).uniform(10, 14, size=(12, 2))
    told = of_map([*crowd, (30.5, 20.5)])
    one = gathered(told)
    assert len(one.row) == len(told.row) - 3
    assert one.weight.sum() == pytest.approx(13)


def test_rounded_and_exact_places_stay_as_they_are():
    rounded = Scatterers(np.array([2.0]), np.array([3.0]), np.ones(1), (0.98, 0.98))
    assert gathered(rounded) is rounded
    exact = Scatterers(np.array([2.3, 2.6]), np.array([3.7, 3.9]), np.ones(2))
    assert gathered(exact) is exact
