"""Errors after the best shift and scale agree with brute force, and forgive these alone."""

import itertools

import numpy as np
import pytest
from scipy.interpolate import make_interp_spline

from qpibench.evaluation.facts import facts_of
from qpibench.evaluation.metrics import Case, all_metrics
from qpibench.grid import Grid
from qpibench.release import open_release, write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

COLUMNS = {column.name: column for metric in all_metrics().values() for column in metric.columns}
GRID = Grid(ny=21, nx=24, size_y_nm=10.0, size_x_nm=11.5)  # pixels 0.5 nm apart
BOTH = pytest.mark.parametrize("name", ["rel_l2_invariant", "rel_l2_rescaled"])


def error(name, prediction, truth, *, shift_nm=0.0, core_nm=0.0, grid=GRID):
    """The error of one image."""
    case = Case(grid=grid, prediction=prediction[None], truth=truth[None], shift_nm=shift_nm, core_nm=core_nm)
    return COLUMNS[name].measure(case).item()


def rings(at_px=(0.0, 0.0), *, period_px=7.0, width_px=3.0, grid=GRID):
    """Smooth rings that fade towards the edges, their centre shifted along y and x."""
    y, x = (np.arange(n) - (n - 1) / 2 - at for n, at in zip(grid.shape, at_px, strict=True))
    square = y[:, None] ** 2 + x**2
    return np.cos(2 * np.pi * np.sqrt(square + 9) / period_px) * np.exp(-square / (2 * width_px**2))


def rough(seed, grid=GRID):
    return np.random.default_rng(seed).standard_normal(grid.shape)


def direct(prediction, truth, shift_px):
    """Prediction moved by whole pixels with zeros beyond the window, and truth moved the other way by the rest."""
    for axis, shift in enumerate(shift_px):
        n, whole = truth.shape[axis], round(shift)
        rolled = np.roll(np.pad(prediction, n), whole, axis)
        prediction = rolled[n : 2 * n, n:-n] if axis == 0 else rolled[n:-n, n : 2 * n]
        truth = make_interp_spline(np.arange(n), truth, k=5, axis=axis)(np.arange(n) + shift - whole)
    return prediction, truth


def by_brute_force(prediction, truth, limits_px, *, outside, either_sign, step):
    """The least error over a grid of shifts and, for each, over the scale of least squares."""
    least = 1.0
    for shift in itertools.product(*(np.arange(-limit, limit + step / 2, step) for limit in limits_px)):
        p, t = (image[outside] for image in direct(prediction, truth, shift))
        scale = p @ t / (p @ p)
        if either_sign or scale > 0:
            least = min(least, np.linalg.norm(scale * p - t) / np.linalg.norm(t))
    return least


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("core_nm", [0.0, 1.6])
@pytest.mark.parametrize(("noise", "excess"), [(0.0, 0.002), (0.1, 0.01), (2.0, 0.01)])
def test_a_small_shift_and_a_positive_scale_agree_with_brute_force(seed, core_nm, noise, excess):
    at = np.random.default_rng(seed).uniform(-1.6, 1.6, 2)
    prediction, truth = 3 * rings(at) + noise * rough(seed), rings()
    outside = GRID.x_nm**2 + GRID.y_nm[:, None] ** 2 >= core_nm**2
    expected = by_brute_force(prediction, truth, (1.3, 1.3), outside=outside, either_sign=False, step=0.13)
    found = error("rel_l2_rescaled", prediction, truth, shift_nm=0.65, core_nm=core_nm)
    assert expected - 0.1 < found < expected + excess  # the grid of brute force is coarse


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("noise", "excess"), [(0.02, 0.005), (0.5, 0.02)])
def test_any_shift_sign_and_scale_agree_with_brute_force(seed, noise, excess):
    grid = Grid(ny=10, nx=13, size_y_nm=4.5, size_x_nm=6.0)
    truth = rings(period_px=5, width_px=2, grid=grid)
    at = np.random.default_rng(seed).uniform(-2, 2, 2)
    prediction = -0.3 * rings(at, period_px=5, width_px=2, grid=grid) + noise * rough(seed, grid)
    expected = by_brute_force(prediction, truth, (2.25, 3.0), outside=truth < np.inf, either_sign=True, step=0.25)
    found = error("rel_l2_invariant", prediction, truth, grid=grid)
    assert expected - 0.1 < found < expected + excess  # the grid of brute force is coarse


@pytest.mark.parametrize("at_px", [(0.5, 0.5), (-0.3, 0.2), (3.5, -2.25), (0.0, 0.01)])
def test_a_shift_by_a_part_of_a_pixel_is_forgiven(at_px):
    grid = Grid(ny=64, nx=63, size_y_nm=9.0, size_x_nm=9.0)
    prediction, truth = (rings(at, period_px=8, width_px=6, grid=grid) for at in (at_px, (0, 0)))
    assert error("rel_l2_invariant", -5 * prediction, truth, grid=grid) < 1e-3
    assert error("rel_l2_rescaled", 5 * prediction, truth, grid=grid, shift_nm=0.6) < 1e-3


def test_a_shift_by_whole_pixels_is_forgiven_exactly():
    sparse = np.zeros(GRID.shape)
    sparse[8:13, 9:15] = rough(1)[:5, :6]
    assert error("rel_l2_invariant", np.roll(sparse, (4, -5), axis=(0, 1)), sparse) < 1e-6


@BOTH
def test_the_shift_has_a_limit(name):
    limits = {"rel_l2_invariant": (5.0, 5.75), "rel_l2_rescaled": (2.0, 2.0)}[name]  # pixels
    near = rings(period_px=1e3, width_px=1.0)
    for axis in (0, 1):
        beyond = np.zeros(2)
        beyond[axis] = limits[axis] + 1.5
        at_limit = np.zeros(2)
        at_limit[axis] = limits[axis]
        far = rings(beyond, period_px=1e3, width_px=1.0)
        p, t = (image.ravel() for image in direct(far, near, -at_limit))
        expected = np.sqrt(1 - (p @ t) ** 2 / (p @ p) / (t @ t))
        assert expected > 0.3
        assert error(name, far, near, shift_nm=1.0) == pytest.approx(expected, abs=1e-6)


@BOTH
@pytest.mark.parametrize("seed", range(3))
def test_no_prediction_scores_above_1_or_above_the_plain_error(name, seed):
    for amount in (0.0, 1e-9, 0.5, 1e6):
        prediction = rings((1, 0)) + amount * rough(seed)
        plain = error("rel_l2_outside", prediction, rings(), core_nm=1.0)
        assert 0 <= error(name, prediction, rings(), core_nm=1.0, shift_nm=0.7) <= min(plain, 1)


@BOTH
def test_zeros_score_1_and_the_truth_0_exactly(name):
    assert error(name, np.zeros(GRID.shape), rough(1), shift_nm=1.0) == 1
    assert error(name, rough(1), rough(1), shift_nm=1.0) == 0


@BOTH
@pytest.mark.parametrize("scale", [1e-30, 0.01, 3.0, 1e20])
def test_the_scale_does_not_matter(name, scale):
    prediction = rings((0.4, 1.2)) + 0.2 * rough(2)
    once = error(name, prediction, rings(), shift_nm=1.0)
    assert error(name, scale * prediction, rings(), shift_nm=1.0) == pytest.approx(once, rel=1e-9)
    assert error(name, prediction, scale * rings(), shift_nm=1.0) == pytest.approx(once, rel=1e-9)


def test_the_sign_matters_only_where_the_scale_is_positive():
    prediction = rings() + 0.1 * rough(3)
    invariant = [error("rel_l2_invariant", sign * prediction, rings()) for sign in (1, -1)]
    assert invariant[0] == pytest.approx(invariant[1], rel=1e-9)
    assert error("rel_l2_rescaled", -prediction, rings()) == 1


@BOTH
def test_the_core_is_left_out_after_the_shift(name):
    truth, prediction = rings(), rings((0, 1))
    core = GRID.x_nm**2 + GRID.y_nm[:, None] ** 2 < 1.6**2
    truth[core] += 50  # counts nowhere
    assert error(name, prediction, truth, core_nm=1.6, shift_nm=1.0) < 1e-3
    prediction[:, :4] += 1.0
    assert error(name, prediction, truth, core_nm=1.6, shift_nm=1.0) > 0.1


def test_a_pixel_that_a_shift_brings_in_is_zero():
    truth = np.random.default_rng(1).choice([-1.0, 1.0], GRID.shape)
    prediction = np.roll(truth, 3, axis=1)
    prediction[:, :3] = 0  # the last three columns of the truth have left the window
    assert error("rel_l2_invariant", prediction, truth) == pytest.approx((3 / 24) ** 0.5, abs=0.01)


@pytest.mark.parametrize(("settings", "expected"), [([], 0.0), (["corruptions.position_error.sigma_nm=0.15"], 0.3)])
def test_the_small_shift_is_two_standard_deviations_of_the_told_positions(tmp_path, settings, expected):
    write_release(load_spec("mini", overrides=settings), tmp_path / "r.h5", backend=get_backend("cpu")[0], threads=1)
    with open_release(tmp_path / "r.h5") as release:
        facts = facts_of(release)
        assert facts.shift_nm == pytest.approx(expected)
        assert facts.of(np.array([0]), ("truth",))["shift_nm"] == facts.shift_nm
