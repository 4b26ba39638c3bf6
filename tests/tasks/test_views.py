"""Each view shows its inputs and no true kernel."""

from __future__ import annotations

import numpy as np
import pytest

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.physics.activation import activation_map
from qpibench.synthesis.contract import Observations
from qpibench.tasks import VIEWS, allows, view_batch

GRID = Grid(ny=6, nx=8, size_y_nm=3, size_x_nm=4)


@pytest.fixture
def observations():
    position_nm = np.array([[[0.3, -0.2], [np.nan, np.nan]], [[1.0, 1.2], [-1.5, 0.4]]])
    return Observations(
        image=np.arange(96, dtype=np.float32).reshape(2, 6, 8),
        kernel=np.array([3, 5], dtype=np.int32),
        n_scatterers=np.array([1, 2], dtype=np.int32),
        position_nm=position_nm,
    )


def test_views_show_more_and_more(observations):
    modes = {"image": None, "raster": "exact", "positions": "exact"}
    shown = {view: view_batch(observations, GRID, view=view, map_mode=modes[view]) for view in VIEWS}
    for batch in shown.values():
        np.testing.assert_array_equal(batch.image, observations.image)
        assert batch.grid == batch.kernel_grid == GRID
        assert len(batch) == 2
    assert [batch.activation_map is not None for batch in shown.values()] == [False, True, True]
    assert [batch.position_nm is not None for batch in shown.values()] == [False, False, True]


@pytest.mark.parametrize("mode", ["paper", "exact"])
def test_the_map_is_that_of_the_asked_mode(observations, mode):
    batch = view_batch(observations, GRID, view="raster", map_mode=mode)
    np.testing.assert_array_equal(batch.activation_map, activation_map(GRID, observations.position_nm, mode=mode))


def test_positions_need_no_map_and_a_raster_does(observations):
    batch = view_batch(observations, GRID, view="positions")
    assert batch.activation_map is None
    np.testing.assert_array_equal(batch.position_nm, observations.position_nm)


def test_a_smaller_kernel_may_be_wanted(observations):
    patch = Grid(ny=3, nx=3, size_y_nm=1, size_x_nm=1)
    assert view_batch(observations, GRID, patch, view="image").kernel_grid == patch


def test_a_view_allows_itself_and_what_shows_less():
    assert [[allows(view, needed) for needed in VIEWS] for view in VIEWS] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"view": "labels"}, "There is no view 'labels'; choose one of image, raster, positions"),
        ({"view": "raster", "map_mode": "fine"}, "There is no activation map mode 'fine'"),
        ({"view": "raster"}, r"'raster' shows an activation map; .* by --map \(in Python map_mode\), paper or exact"),
        ({"view": "image", "map_mode": "exact"}, "'image' shows no activation map"),
    ],
)
def test_a_view_that_cannot_be_shown_is_refused(observations, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        view_batch(observations, GRID, **options)
