"""Kernels outside eq. 7."""

import numpy as np
import pytest

from benchmarks.foreign_kernels import KERNELS, TIP_NM, Mixed, hankel_profile, tip_average
from benchmarks.fresh_draws import CELLS, foreign_images, spec_of

SIGMA = TIP_NM / np.sqrt(8 * np.log(2))


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("delta", [0.2, np.pi / 2, 2.5])
def test_far_from_the_scatterer_the_electron_gas_has_waves_of_twice_its_wavevector(delta):
    k, r = 2.0, np.linspace(400, 410, 200)
    waves = 2 * np.sin(delta) / (np.pi * k * r) * np.cos(2 * k * r + delta)
    assert hankel_profile(r, k=k, decay_nm=np.inf, delta=delta) == pytest.approx(waves, abs=1e-3 * np.abs(waves).max())


def test_its_waves_decay_over_the_decay_length():
    r = np.linspace(5, 7, 100)
    free, damped = (hankel_profile(r, k=40.0, decay_nm=decay, delta=0.7) for decay in (np.inf, 2.0))
    assert damped == pytest.approx(free * np.exp(-r / 2), abs=0.01 * np.abs(damped).max())


def test_the_average_over_the_tip_of_a_gaussian_is_a_wider_gaussian():
    average = tip_average(lambda r: np.exp(-(r**2) / 2), 6.0)
    r = np.linspace(0, 6, 301)
    assert average(r) == pytest.approx(np.exp(-(r**2) / (2 + 2 * SIGMA**2)) / (1 + SIGMA**2), abs=1e-9)


@pytest.mark.parametrize("at", [0.0, 0.25, 3.0])
def test_the_average_over_the_tip_is_that_of_a_sum_over_the_plane(at):
    def profile(r):
        return hankel_profile(r, k=3.0, decay_nm=2.0, delta=1.0)

    # Midpoints of polar cells around the scatterer, finer near it.
    edge = 2.5 + at
    t = (np.arange(2000) + 0.5) / 2000
    r, width = edge * t**2, edge * 2 * t / 2000
    angle = 2 * np.pi * (np.arange(400) + 0.5) / 400
    x, y = r[:, None] * np.cos(angle), r[:, None] * np.sin(angle)
    weight = np.exp(-((x - at) ** 2 + y**2) / (2 * SIGMA**2)) / (2 * np.pi * SIGMA**2) * 2 * np.pi / 400
    expected = (weight.sum(axis=1) * profile(r) * r * width).sum()
    assert tip_average(profile, 5.0)(at) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", KERNELS)
def test_an_image_is_the_sum_of_the_kernel_at_every_scatterer(name):
    spec = spec_of(CELLS[name], 1)
    at = np.array([[[0.0, 0.0], [3 * spec.grid.pitch_x_nm, 0.0], [np.nan, np.nan]]])
    truth, image = foreign_images(name, spec, at)
    shifted = truth[0][:, :-3] + truth[0][:, 3:]
    assert image[0][:, 3:] == pytest.approx(shifted, abs=1e-6)


@pytest.mark.parametrize("name", KERNELS)
def test_no_value_is_larger_than_1(name, rng):
    spec = spec_of(CELLS[name], 1)
    grid = spec.grid.offsets
    peaks = [np.abs(KERNELS[name].draw(rng, spec)(grid.x_nm, grid.y_nm[:, None])).max() for _ in range(5)]
    assert 0.1 < min(peaks) <= max(peaks) <= 1 + 1e-9


def test_the_mixed_kernel_is_no_product_of_a_profile_and_an_angular_factor(rng):
    kernel = Mixed.draw(rng, spec_of(CELLS["mixed"], 1))
    r, angle = np.linspace(0.1, 3, 50), np.linspace(0, 2 * np.pi, 40)
    values = kernel(r[:, None] * np.cos(angle), r[:, None] * np.sin(angle))
    first, second = np.linalg.svd(values, compute_uv=False)[:2]
    assert second > 0.05 * first
