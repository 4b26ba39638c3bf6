"""The multi-atom phase sum is the mean of the image over its scatterers."""

import numpy as np
import pytest
from multi_atom import Model
from shared.extractor import Observation
from shared.scatterers import Scatterers

from qpibench.grid import Grid

GRID = Grid(ny=21, nx=27, size_y_nm=4.0, size_x_nm=5.2)
WINDOW = Grid(ny=11, nx=13, size_y_nm=2.0, size_x_nm=2.4)
ROW, COLUMN, WEIGHT = np.array([10.0, 14.0, 3.0]), np.array([13.0, 8.0, 25.0]), np.array([1.0, 2.0, 1.0])


def observed(image, row=ROW, column=COLUMN, weight=WEIGHT):
    return Observation(image=image, grid=GRID, scatterers=Scatterers(row, column, weight), kernel_grid=WINDOW)


@pytest.fixture
def image():
    y, x = np.mgrid[:21, :27]
    return np.cos(0.5 * y) + np.sin(0.3 * x + 0.2 * y)


def phase_sum(image):
    """The formula of the article on a plane four times as large, divided by the strengths."""
    frequency_y, frequency_x = 2 * np.pi * np.fft.fftfreq(84)[:, None], 2 * np.pi * np.fft.fftfreq(108)
    turned = sum(
        w * np.exp(1j * (frequency_y * r + frequency_x * c)) for r, c, w in zip(ROW, COLUMN, WEIGHT, strict=True)
    )
    mean = np.fft.ifft2(turned * np.fft.fft2(image, s=(84, 108))).real / WEIGHT.sum()
    return np.roll(mean, (20, 26), axis=(0, 1))[:41, :53]


def test_the_estimate_is_the_phase_sum_over_the_number_of_scatterers(image):
    found = Model().extract(observed(image))
    expected = phase_sum(image - 0.75 * image.mean())
    np.testing.assert_allclose(found.kernel_full, expected, atol=1e-5)
    np.testing.assert_allclose(found.kernel, expected[15:26, 20:33], atol=1e-5)


def test_with_one_scatterer_it_is_the_image_around_it(image):
    found = Model().extract(observed(image, np.array([9.0]), np.array([12.0]), np.ones(1)))
    np.testing.assert_allclose(found.kernel, image[4:15, 6:19], atol=1e-5)


def test_between_the_pixels_the_image_is_interpolated(image):
    found = Model().extract(observed(image, np.array([9.5]), np.array([12.25]), np.ones(1)))
    y, x = np.mgrid[-5:6, -6:7] + np.array([9.5, 12.25])[:, None, None]
    np.testing.assert_allclose(found.kernel, np.cos(0.5 * y) + np.sin(0.3 * x + 0.2 * y), atol=0.01)


def test_pixels_that_are_nan_add_nothing(image):
    image[4, 5] = np.nan
    filled = np.where(np.isnan(image), 0.75 * np.nanmean(image), image)
    expected = phase_sum(filled - 0.75 * np.nanmean(image))
    np.testing.assert_allclose(Model().extract(observed(image)).kernel_full, expected, atol=1e-5)
