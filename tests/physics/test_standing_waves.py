"""Standing waves of kernels, and the band that they follow: known waves and bands are found within their intervals."""

import numpy as np
import pytest
from scipy.special import hankel1

from qpibench.errors import InvalidDataError, UsageError
from qpibench.families import get_family
from qpibench.grid import Grid
from qpibench.physics.dispersion import fit_band
from qpibench.physics.standing_waves import standing_waves

GRID = Grid(ny=81, nx=81, size_y_nm=16.0, size_x_nm=16.0)
RADIUS = np.maximum(np.hypot(GRID.x_nm, GRID.y_nm[:, None]), 0.1)


def around_a_scatterer(k, *, phase=0.4, damping=0.02):
    return (np.exp(1j * phase) * hankel1(0, k * RADIUS) ** 2).real * np.exp(-damping * RADIUS)


def surface_state(k, tip_fwhm):
    columns = {"energy": 0.0, "k": k, "damping": 0.02, "delta": 1.2, "alpha": 0.8, "tip_fwhm": tip_fwhm}
    columns |= {"mass_ratio": 1.0, "axis": 0.0, "share_2": 0.0, "k_2": 1.0, "damping_2": 0.0, "delta_2": 0.0}
    return get_family("surface_state").reference(GRID.x_nm, GRID.y_nm[:, None], **columns, unit=1.0)


@pytest.mark.parametrize("k", [0.8, 1.5, 3.0])
def test_the_wave_of_a_point_scatterer_has_its_wavevector_and_decay(k):
    found = standing_waves(GRID, around_a_scatterer(k), core_nm=0.5)
    assert found.q == pytest.approx(2 * k, rel=2e-4)
    assert found.decay_nm == pytest.approx(50, rel=0.1)


def test_the_tip_does_not_shift_the_wavevector():
    found = standing_waves(GRID, surface_state(1.5, 0.5), core_nm=1.0)
    assert found.q == pytest.approx(3.0, rel=3e-4)


def test_the_standard_deviation_is_that_of_wavevectors_found_in_noise():
    kernel, rng = around_a_scatterer(1.5), np.random.default_rng(1)
    std = np.full(GRID.shape, 0.05)
    found = [standing_waves(GRID, kernel + rng.normal(0, std), std / np.sqrt(48), core_nm=0.5) for _ in range(40)]
    errors = np.array([one.q - 3.0 for one in found])
    assert np.mean([one.q_std for one in found]) == pytest.approx(errors.std(), rel=0.5)


@pytest.mark.parametrize("std", [None, np.full(GRID.shape, 0.05)])
def test_the_unit_of_the_kernel_does_not_matter(std):
    kernel = around_a_scatterer(1.5) + np.random.default_rng(3).normal(0, 0.05, GRID.shape)
    one, other = (
        standing_waves(GRID, unit * kernel, None if std is None else unit * std, core_nm=0.5) for unit in (1, 1e-12)
    )
    assert (other.q, other.q_std) == pytest.approx((one.q, one.q_std), rel=1e-6)
    assert other.std == pytest.approx(1e-12 * one.std, rel=1e-6)


def test_a_kernel_without_a_ring_has_no_standing_waves():
    assert standing_waves(GRID, np.zeros(GRID.shape)) is None


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_kernel_that_is_not_the_same_in_all_directions_has_no_standing_waves(order):
    grid = Grid(ny=41, nx=41, size_y_nm=16.0, size_x_nm=16.0)
    x, y = grid.x_nm, grid.y_nm[:, None]
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    around = np.cos(order * angle) * np.cos(3 * radius) * np.exp(-radius / 4)
    noise = np.random.default_rng(0).normal(0, 0.05 * around.std(), grid.shape)
    for kernel in (around, around + noise):
        assert standing_waves(grid, kernel) is None
    s_wave = (hankel1(0, 1.5 * np.maximum(radius, 0.1)) ** 2).real
    assert standing_waves(grid, around + s_wave).q == pytest.approx(3.0, rel=0.02)


def test_a_standard_deviation_of_another_shape_is_refused():
    with pytest.raises(UsageError, match="shape"):
        standing_waves(GRID, around_a_scatterer(1.5), np.ones((3, 3)))


ENERGY = np.linspace(-35, 265, 20)
WAVEVECTOR = 2 * np.sqrt(0.4 * (ENERGY + 65) / 38.09982)  # hbar^2 / 2 m_e in meV nm^2


def test_a_band_is_found_within_its_intervals_and_not_by_chance():
    rng, std = np.random.default_rng(2), np.full(20, 0.005)
    bands = [fit_band(ENERGY, WAVEVECTOR + rng.normal(0, std), std) for _ in range(100)]
    for value, interval in (("e0_mev", "e0_interval"), ("mass", "mass_interval")):
        truth = {"e0_mev": -65, "mass": 0.4}[value]
        held = [low <= truth <= high for low, high in (getattr(band, interval) for band in bands)]
        assert 88 <= sum(held) <= 100
    assert np.std([band.e0_mev for band in bands]) == pytest.approx(np.mean([band.e0_std for band in bands]), rel=0.25)
    assert bands[0].wavevector([-70, 35])[1] == pytest.approx(2 * np.sqrt(0.4 * 100 / 38.09982), rel=0.01)
    assert np.isnan(bands[0].wavevector([-70, 35])[0])


def test_the_wavevector_of_a_band_has_an_interval_at_every_energy():
    rng, std = np.random.default_rng(2), np.full(20, 0.005)
    bands = [fit_band(ENERGY, WAVEVECTOR + rng.normal(0, std), std) for _ in range(100)]
    held = [low <= WAVEVECTOR[9] <= high for low, high in (band.wavevector_interval(ENERGY[9]) for band in bands)]
    assert 88 <= sum(held) <= 100
    low, high = bands[0].wavevector_interval([-500.0, *ENERGY])
    assert (low[0], high[0]) == (0, 0)
    assert (low[1:] < bands[0].wavevector(ENERGY)).all()
    assert (high[1:] > bands[0].wavevector(ENERGY)).all()


def test_the_interval_of_the_mass_holds_if_all_wavevectors_err_by_one_factor():
    rng, std = np.random.default_rng(3), 0.003 * WAVEVECTOR
    bands = [fit_band(ENERGY, 0.9985 * WAVEVECTOR + rng.normal(0, std), std) for _ in range(100)]
    assert sum(low <= 0.4 <= high for low, high in (band.mass_interval for band in bands)) >= 88


def test_energies_with_another_ring_are_left_out():
    wavevector = WAVEVECTOR.copy()
    wavevector[[3, 11]] = [6.0, np.nan]
    band = fit_band(ENERGY, wavevector, np.full(20, 0.005))
    assert list(np.flatnonzero(~band.used)) == [3, 11]
    assert band.mass == pytest.approx(0.4, rel=1e-6)


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.7, 1.4, 2.0])
@pytest.mark.parametrize("count", [5, 10, 16])
def test_a_wavevector_that_is_too_small_or_too_large_does_not_count(count, factor):
    energy = np.linspace(-35, 265, count)
    truth = 2 * np.sqrt(0.4 * (energy + 65) / 38.09982)
    rng, held = np.random.default_rng(4), 0
    for number in range(20):
        wrong = np.where(np.arange(count) == number % count, factor, 1.0)
        band = fit_band(energy, wrong * (truth + rng.normal(0, 0.01 * truth)), 0.01 * wrong * truth)
        held += band.mass_interval[0] <= 0.4 <= band.mass_interval[1] and not band.used[number % count]
    assert held >= 18


def test_a_tiny_wavevector_among_five_exact_ones_is_left_out():
    energy = np.linspace(-35, 265, 5)
    wavevector = 2 * np.sqrt(0.4 * (energy + 65) / 38.09982)
    wavevector[2] = 0.3
    band = fit_band(energy, wavevector, np.full(5, 0.001))
    assert list(band.used) == [True, True, False, True, True]
    assert band.mass == pytest.approx(0.4, rel=1e-9)


def test_few_energies_or_falling_wavevectors_are_no_band():
    with pytest.raises(InvalidDataError, match="4 or more"):
        fit_band(ENERGY[:3], WAVEVECTOR[:3], np.full(3, 0.01))
    with pytest.raises(InvalidDataError, match="do not grow"):
        fit_band(ENERGY, WAVEVECTOR[::-1], np.full(20, 0.01))
    with pytest.raises(UsageError, match="one length"):
        fit_band(ENERGY, WAVEVECTOR[1:], np.full(20, 0.01))
