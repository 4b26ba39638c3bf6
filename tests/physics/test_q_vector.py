"""The finder of wavevectors finds known ones, whatever their phase, place between Fourier bins and angular factor."""

import numpy as np
import pytest
from scipy.special import j0, y0

from qpibench.errors import UsageError
from qpibench.grid import Grid
from qpibench.physics.q_vector import DIRECTIONS, direction_wavevectors, ring_wavevector

GRIDS = {
    "64 px": Grid(ny=64, nx=64, size_y_nm=10.0, size_x_nm=10.0),
    "odd": Grid(ny=65, nx=65, size_y_nm=20.0, size_x_nm=20.0),
    "oblong": Grid(ny=80, nx=120, size_y_nm=20.0, size_x_nm=35.0),
}


def polar(grid):
    x, y = np.meshgrid(grid.x_nm, grid.y_nm)
    return np.hypot(x, y), np.arctan2(y, x)


def bin_of(grid):
    return 2 * np.pi / min(grid.size_x_nm, grid.size_y_nm)


def drawn_q(grid, count=40):
    """Wavevectors between 5 bins and three quarters of what the pixels resolve, off the bins; and phases."""
    rng = np.random.default_rng(3)
    highest = 0.75 * np.pi / max(grid.pitch_x_nm, grid.pitch_y_nm)
    return rng.uniform(5 * bin_of(grid), highest, count), rng.uniform(0, 2 * np.pi, count)


def angular(theta, number):
    fold = (0, 2, 3, 4, 6)[number % 5]
    return np.sin(fold / 2 * theta + (1 if fold else np.pi / 2)) ** 2


RIPPLES = {  # function of r, q, phase; whether there is a core; largest and median error in bins
    "cos(q r + phase) / r": (lambda r, q, phase: np.cos(q * r + phase) / np.maximum(r, 0.1), True, 0.03, 0.01),
    "decaying, with offset": (
        lambda r, q, phase: (1 + np.cos(q * r + phase)) * np.exp(-((r / r.max() / 0.4) ** 2)),
        False,
        0.06,
        0.01,
    ),
    "J0(q r)": (lambda r, q, phase: j0(q * r), False, 0.03, 0.01),
    "standing wave of a point": (
        lambda r, q, phase: np.imag(np.exp(1j * phase) * (j0(q / 2 * r) + 1j * y0(q / 2 * r)) ** 2),
        True,
        0.06,
        0.03,
    ),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("name", RIPPLES)
def test_the_ring_of_known_ripples_is_found_within_a_part_of_a_bin(grid, name):
    ripples, has_core, largest, median = RIPPLES[name]
    r, theta = polar(grid)
    core_nm = 3 * max(grid.pitch_x_nm, grid.pitch_y_nm) if has_core else 0.0
    q, phase = drawn_q(grid)
    kernels = np.array(
        [ripples(np.maximum(r, 0.05), *each) * angular(theta, k) for k, each in enumerate(zip(q, phase, strict=True))]
    )
    error = np.abs(ring_wavevector(grid, kernels, core_nm=core_nm) - q) / bin_of(grid)
    assert error.max() < largest
    assert np.median(error) < median


def test_the_strength_and_sign_of_a_kernel_and_an_offset_of_its_fading_waves_do_not_matter():
    grid = GRIDS["64 px"]
    r, _ = polar(grid)
    kernel = np.cos(6 * r) * np.exp(-((r / 3) ** 2))
    offset = np.exp(-((r / 3) ** 2))
    found = ring_wavevector(grid, np.array([kernel, -1e-20 * kernel, 1e20 * kernel, kernel + 2 * offset]))
    assert found == pytest.approx(6.0, abs=0.02 * bin_of(grid))


def test_noise_as_strong_as_a_third_of_the_ripples_moves_a_ring_by_a_tenth_of_a_bin():
    grid = GRIDS["64 px"]
    r, _ = polar(grid)
    kernel = np.cos(6 * r) * np.exp(-((r / 4) ** 2))
    noise = kernel.std() / 3 * np.random.default_rng(0).standard_normal((10, *grid.shape))
    assert np.abs(ring_wavevector(grid, kernel + noise) - 6).max() < 0.1 * bin_of(grid)


@pytest.mark.parametrize("core_nm", [0.0, 1.0, 4.9])
def test_kernels_without_ripples_have_no_wavevector(core_nm):
    grid = GRIDS["64 px"]
    constant = np.ones(grid.shape)
    assert np.isnan(ring_wavevector(grid, np.array([0 * constant, constant]), core_nm=core_nm)[0])
    peaks = direction_wavevectors(grid, 0 * constant[None], core_nm=core_nm)
    assert np.isnan(peaks.wavevector).all()
    assert not peaks.clear.any()


def test_each_direction_has_the_wavevector_of_its_own_ripples():
    grid = GRIDS["odd"]
    r, theta = polar(grid)
    kernel = np.cos(r * np.sqrt((5 * np.cos(theta)) ** 2 + (3 * np.sin(theta)) ** 2)) / np.maximum(r, 0.3)
    angle = np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    peaks = direction_wavevectors(grid, kernel[None], core_nm=1.0)
    assert peaks.clear.all()
    expected = np.sqrt((5 * np.cos(angle)) ** 2 + (3 * np.sin(angle)) ** 2)
    assert peaks.wavevector[0] == pytest.approx(expected, abs=0.1 * bin_of(grid))


def test_a_direction_without_ripples_or_with_two_equal_waves_is_not_clear():
    grid = GRIDS["odd"]
    r, theta = polar(grid)
    along = direction_wavevectors(grid, (np.cos(4 * r) * np.cos(theta) ** 8)[None])
    assert along.clear[0, [0, 1, 11]].all()
    assert not along.clear[0, 4:9].any()
    assert not direction_wavevectors(grid, (np.cos(3 * r) + np.cos(6 * r))[None]).clear.any()


@pytest.mark.parametrize("pixels", [2, 3, 4, 5, 9])
def test_small_grids_have_a_wavevector_or_none(pixels):
    grid = Grid(ny=pixels, nx=pixels + 1, size_y_nm=1.0, size_x_nm=2.0)
    kernels = np.random.default_rng(1).standard_normal((3, *grid.shape))
    for core_nm in (0.0, 0.3, 5.0):
        found = ring_wavevector(grid, kernels, core_nm=core_nm)
        assert (np.isnan(found) | (found > 0)).all()
        assert direction_wavevectors(grid, kernels, core_nm=core_nm).clear.shape == (3, DIRECTIONS)


def test_kernels_of_another_shape_are_refused():
    with pytest.raises(UsageError, match="kernel"):
        ring_wavevector(GRIDS["odd"], np.zeros((1, 64, 64)))
