"""The float64 reference of eq. 7 against its laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpibench.families import eq7
from qpibench.families.eq7 import FOLDS
from qpibench.grid import Grid
from qpibench.physics.superposition import kernel_image, superpose

FIELD = Grid(ny=9, nx=14, size_y_nm=6.0, size_x_nm=10.0)

angles = st.floats(0, np.pi)
lengths = st.floats(-8, 8, allow_subnormal=False)


@st.composite
def kernel_parameters(draw, folds=FOLDS):
    fold = draw(st.sampled_from(folds))
    return {
        "fold": fold,
        "phi1": draw(angles) if fold else np.pi / 2,
        "B": np.pi / draw(st.floats(0.6, 3)),
        "phi2": draw(angles),
        "C": draw(st.floats(1, 5)) ** -2,
    }


def positions(count):
    return st.lists(st.tuples(lengths, lengths), min_size=count, max_size=count).map(np.array)


def test_a_point_worked_out_by_hand():
    # theta = pi/4 and r = 2: both squared sines are those of pi/2, and exp(-C r^2) = 1/e.
    offset = np.sqrt(2.0)
    value = eq7.reference(offset, offset, fold=4, phi1=0.0, B=np.pi / 8, phi2=np.pi / 4, C=0.25)
    assert value == pytest.approx(np.exp(-1), rel=1e-14)


@pytest.mark.parametrize(("fold", "phi1", "mean"), [(0, np.pi / 2, 1.0), (2, 0.3, 0.5), (3, 0.0, 0.5), (6, 2.0, 0.5)])
def test_the_scatterers_own_place_shows_the_angular_mean(fold, phi1, mean):
    value = eq7.reference(0.0, 0.0, fold=fold, phi1=phi1, B=2.0, phi2=0.7, C=0.1)
    assert value == mean * np.sin(0.7) ** 2


@given(kernel_parameters(folds=(2, 3, 4, 6)), lengths, lengths)
def test_a_kernel_turned_by_its_fold_is_itself(parameters, dx, dy):
    turn = 2 * np.pi / parameters["fold"]
    turned = (np.cos(turn) * dx - np.sin(turn) * dy, np.sin(turn) * dx + np.cos(turn) * dy)
    assert eq7.reference(*turned, **parameters) == pytest.approx(eq7.reference(dx, dy, **parameters), abs=1e-12)


@pytest.mark.parametrize("fold", [2, 3, 4, 6])
def test_a_kernel_turned_by_half_its_fold_is_another(fold):
    parameters = {"fold": fold, "phi1": 0.4, "B": 1.0, "phi2": 0.5, "C": 0.01}
    turn = np.pi / fold
    assert abs(eq7.reference(np.cos(turn), np.sin(turn), **parameters) - eq7.reference(1.0, 0.0, **parameters)) > 0.1


@given(kernel_parameters(folds=(0,)), lengths, angles)
def test_total_symmetry_depends_on_the_distance_alone(parameters, r, theta):
    assert eq7.reference(r * np.cos(theta), r * np.sin(theta), **parameters) == pytest.approx(
        eq7.reference(r, 0.0, **parameters), abs=1e-12
    )


@given(kernel_parameters(), positions(5), st.integers(0, 5))
def test_superposition_is_additive_over_the_scatterers(parameters, position_nm, cut):
    parts = [superpose(FIELD, eq7, part, **parameters) for part in (position_nm[:cut], position_nm[cut:])]
    np.testing.assert_allclose(superpose(FIELD, eq7, position_nm, **parameters), sum(parts), atol=1e-13)


def test_one_scatterer_at_the_centre_shows_the_kernel_image():
    parameters = {"fold": 3, "phi1": 0.4, "B": 1.0, "phi2": 0.5, "C": 0.1}
    np.testing.assert_array_equal(
        superpose(FIELD, eq7, np.zeros((1, 2)), **parameters), kernel_image(FIELD, eq7, **parameters)
    )


def test_images_are_indexed_y_first_and_padding_shows_nothing():
    parameters = {"fold": 0, "phi1": np.pi / 2, "B": 0.1, "phi2": np.pi / 2, "C": 4.0}
    position_nm = np.array([[FIELD.x_nm[11], FIELD.y_nm[2]], [np.nan, np.nan]])
    observation = superpose(FIELD, eq7, position_nm, **parameters)
    assert np.unravel_index(observation.argmax(), FIELD.shape) == (2, 11)
    assert observation.max() == 1.0


def test_the_q_vector_is_that_of_the_oscillation():
    B, r = 3.0, np.linspace(0, 200, 2**14)
    spectrum = np.abs(np.fft.rfft(np.sin(B * r + 0.3) ** 2 - 0.5))
    q = 2 * np.pi * np.fft.rfftfreq(len(r), r[1])
    assert eq7.wavevector({"B": B}) == pytest.approx(q[spectrum.argmax()], abs=q[1])
