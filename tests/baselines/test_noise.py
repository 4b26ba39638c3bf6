"""The noise level of an image is estimated from the image alone."""

import numpy as np
import pytest
from shared.noise import noise_level, noise_to_signal
from shared.smoothing import raster_variance

Y, X = np.mgrid[:64, :64]
RIPPLES = np.sin(0.9 * X + 0.4 * Y) * np.exp(-((X - 30) ** 2 + (Y - 20) ** 2) / 400)


def noise(sigma, shape=(64, 64)):
    return sigma * np.random.default_rng(5).normal(size=shape)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 20.0])
def test_the_level_of_white_noise_on_ripples_is_found_to_ten_percent(sigma):
    assert noise_level(RIPPLES + noise(sigma)) == pytest.approx(sigma, rel=0.1)


def test_a_plane_and_an_offset_are_no_noise():
    assert noise_level(100 + 3 * X - 2 * Y + noise(0.1)) == pytest.approx(0.1, rel=0.1)


def test_pixels_that_are_missing_leave_the_level():
    image = RIPPLES + noise(0.3)
    image[np.random.default_rng(6).random(image.shape) < 0.1] = np.nan
    image[20:24] = np.inf
    assert noise_level(image) == pytest.approx(0.3, rel=0.15)


@pytest.mark.parametrize("shape", [(64, 2), (1, 90), (3, 30)])
def test_a_narrow_image_has_a_bound_or_an_estimate(shape):
    assert noise_level(noise(2.0, shape)) == pytest.approx(2.0, rel=0.3)


def test_an_image_without_pixels_has_no_noise():
    assert noise_level(np.full((8, 8), np.nan)) == 0


def test_the_ratio_to_the_signal_is_that_of_the_variances():
    assert noise_to_signal(RIPPLES + noise(0.3), 0.3) == pytest.approx(0.09 / RIPPLES.var(), rel=0.1)
    assert noise_to_signal(RIPPLES, 1e-9) == noise_to_signal(np.full((32, 32), 7.0), 0.1) == 0
    assert noise_to_signal(RIPPLES, 10.0) == np.inf


def test_the_variance_by_a_raster_is_that_of_displaced_scatterers():
    rng = np.random.default_rng(7)
    place = rng.uniform(0, 64, (200, 2))

    def image(shift):
        return sum(np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 30) for y, x in place + shift)

    moved = [image(rng.uniform(-0.5, 0.5, place.shape)) - image(0) for _ in range(20)]
    assert raster_variance(image(0), (1.0, 1.0), 0.0) == pytest.approx(np.mean(np.square(moved)), rel=0.3)
    assert raster_variance(image(0), (0.0, 0.0), 0.0) == 0
