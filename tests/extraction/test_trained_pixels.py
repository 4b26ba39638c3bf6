"""An entry that takes only the pixels it was trained on extracts kernels of any map, resampled and back."""

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.extraction import extract
from qpibench.extraction.stack import extract_stack

PIXELS = 32
TOY = f"""
takes_pixels, needs = ({PIXELS}, {PIXELS}), "positions"
def predict(batch):
    assert batch.image.shape[1:] == batch.grid.shape == batch.kernel_grid.shape == takes_pixels
    global seen
    seen = batch
    return 2 * batch.image
"""


@pytest.fixture
def toy(tmp_path):
    """An entry for images of 32 x 32 pixels that gives the image back, twice as large."""
    (tmp_path / "toy.py").write_text(TOY)
    return tmp_path / "toy.py"


def field(pixels):
    """Waves on a field of 10 nm."""
    x = np.linspace(-5, 5, pixels)
    r = np.hypot(x, x[:, None])
    return np.cos(3 * r + 0.2 * x) * np.exp(-0.1 * r**2)


@pytest.mark.filterwarnings("ignore:The image was resampled")
@pytest.mark.parametrize("pixels", [24, 41, 64])
def test_values_keep_their_places_and_amplitudes(toy, pixels):
    found = extract(field(pixels), [[0, 0]], 10.0, toy).kernel
    np.testing.assert_allclose(found, 2 * field(pixels), atol=0.04)


@pytest.mark.filterwarnings("ignore:The image was resampled")
def test_a_smaller_kernel_is_the_middle_of_the_field(toy):
    whole, part = (extract(field(65), [[0, 0]], 10.0, toy, kernel_shape=n).kernel for n in (65, 21))
    np.testing.assert_allclose(part, whole[22:43, 22:43], atol=0.02)


@pytest.mark.filterwarnings("ignore:The image was resampled")
def test_waves_that_the_pixels_cannot_show_are_not_aliased(toy):
    x = np.linspace(0, 1, 64)
    image = np.broadcast_to(np.cos(50 * np.pi * x), (64, 64)) + np.cos(np.pi * x)[:, None]
    found = extract(image, [[0, 0]], 10.0, toy).kernel
    np.testing.assert_allclose(found, np.broadcast_to(2 * np.cos(np.pi * x)[:, None], (64, 64)), atol=1e-5)


def test_it_is_said_once_by_a_warning_and_with_every_kernel(toy):
    said = "resampled from 64 x 64 to the 32 x 32 pixels that toy was trained on"
    with pytest.warns(UserWarning, match=said) as warned:
        found = extract(field(64), [[0, 0]], 10.0, toy)
    assert len(warned) == 1
    assert said in found.diagnostics["resampled"]
    stack = extract_stack([field(64), field(64)], [[0, 0]], 10.0, toy, workers=1)
    assert [said in each for each in stack.doubts] == [True]


def test_a_field_of_another_shape_is_stretched_and_that_is_said(toy):
    with pytest.warns(
        UserWarning, match="stretches its pattern by 2 along x; a map whose height and width are as 32 to 32"
    ):
        extract(np.vstack([field(64), field(64)]), [[0, 0]], (20.0, 10.0), toy)


def test_a_field_with_the_right_pixels_is_given_as_it_is(toy, recwarn):
    np.testing.assert_array_equal(extract(field(32), [[0, 0]], 10.0, toy).kernel, 2 * field(32).astype(np.float32))
    assert extract(field(32), [[0, 0]], 10.0, toy, kernel_shape=21).kernel.shape == (21, 21)
    assert not recwarn


def test_masked_pixels_and_kernels_beyond_the_field_are_refused(toy):
    with pytest.raises(InvalidDataError, match="'toy' uses every pixel, and 64 of 4,096 are NaN"):
        extract(np.vstack([field(64)[:-1], np.full((1, 64), np.nan)]), [[0, 0]], 10.0, toy)
    with pytest.raises(UsageError, match="'toy' gives kernels as large as the field, 64 x 64 pixels, and 65 x 65"):
        extract(field(64), [[0, 0]], 10.0, toy, kernel_shape=65)
