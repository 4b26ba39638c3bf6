"""Activation maps: the published raster and the exact one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.physics.activation import MAP_MODES, activation_map

FIELD = Grid(ny=8, nx=5, size_y_nm=7.0, size_x_nm=10.0)
NOWHERE = (np.nan, np.nan)

inside = st.lists(st.tuples(st.floats(-5, 5), st.floats(-3.5, 3.5)), min_size=1, max_size=20)


def one_map(scatterers, mode):
    return activation_map(FIELD, np.array([scatterers], dtype=np.float64), mode=mode)[0]


def test_the_paper_map_cuts_the_field_into_equal_cells():
    # Cells are 2 nm wide along x and 0.875 nm along y.
    marked = one_map([(-5.0, -3.5), (-3.01, -2.63), (-2.99, -2.62), (0.9, 3.49)], "paper")
    assert set(zip(*np.nonzero(marked), strict=True)) == {(0, 0), (1, 1), (7, 2)}


def test_the_far_edges_belong_to_the_last_cell_and_pixel():
    for mode in MAP_MODES:
        marked = one_map([(5.0, 3.5)], mode)
        assert marked[-1, -1] == 1
        assert marked.sum() == 1


@given(inside)
def test_the_paper_map_is_one_where_any_scatterer_is(scatterers):
    marked = one_map(scatterers, "paper")
    assert set(np.unique(marked)) == {0.0, 1.0}
    assert marked.sum() <= len(scatterers)
    np.testing.assert_array_equal(marked, one_map(scatterers * 2, "paper"))


@given(inside)
def test_the_exact_map_keeps_number_and_centre_of_mass(scatterers):
    weights = one_map(scatterers, "exact")
    assert weights.sum(dtype=np.float64) == pytest.approx(len(scatterers), rel=1e-6)
    centre = np.array([(weights * FIELD.x_nm).sum(), (weights * FIELD.y_nm[:, None]).sum()])
    np.testing.assert_allclose(centre, np.sum(scatterers, axis=0), atol=1e-4)


@given(inside, inside)
def test_exact_maps_add_up(some, others):
    np.testing.assert_allclose(
        one_map(some + others, "exact"), one_map(some, "exact") + one_map(others, "exact"), atol=1e-5
    )


def test_a_scatterer_on_a_pixel_marks_that_pixel():
    weights = one_map([(FIELD.x_nm[3], FIELD.y_nm[6])], "exact")
    assert weights[6, 3] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("mode", MAP_MODES)
def test_scatterers_outside_and_padding_leave_no_mark(mode):
    marked = one_map([(5.01, 0.0), (0.0, -3.6), NOWHERE, (0.1, 0.1)], mode)
    np.testing.assert_array_equal(marked, one_map([(0.1, 0.1)], mode))
    assert not one_map([NOWHERE], mode).any()


@pytest.mark.parametrize("mode", MAP_MODES)
def test_a_map_does_not_depend_on_its_batch_mates(mode):
    position_nm = np.random.default_rng(5).uniform(-5, 5, (6, 9, 2))
    together = activation_map(FIELD, position_nm, mode=mode)
    assert together.dtype == np.float32
    for alone, scatterers in zip(together, position_nm, strict=True):
        np.testing.assert_array_equal(alone, one_map(scatterers, mode))


def test_an_unknown_mode_is_named_with_the_choices():
    with pytest.raises(UsageError, match=r"'bilinear'.*paper, exact"):
        one_map([NOWHERE], "bilinear")


@pytest.mark.parametrize("mode", MAP_MODES)
@pytest.mark.parametrize("shape", [(3, 2), (1, 5, 3), (2,), (1, 1, 5, 2)])
def test_positions_of_another_shape_are_refused(shape, mode):
    with pytest.raises(UsageError, match=r"position_nm must have the shape \(observation, scatterer, 2\), found \("):
        activation_map(FIELD, np.zeros(shape), mode=mode)
