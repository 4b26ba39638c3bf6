"""The Fourier transform of the exact path against NumPy's."""

import numpy as np
import pytest

from qpibench.arithmetic.fourier import circle, inverse_transforms


def transformed(columns):
    real, imag = columns.real.copy(), columns.imag.copy()
    inverse_transforms(circle(len(columns)), real, imag, np.empty_like(real), np.empty_like(imag))
    return real + 1j * imag


@pytest.fixture
def columns():
    """Random complex columns of a length."""

    def make(length, count=5):
        numbers = np.random.default_rng(length).normal(size=(2, length, count))
        return numbers[0] + 1j * numbers[1]

    return make


@pytest.mark.parametrize("length", [1, 2, 4, 8, 128, 2048])
def test_it_is_the_inverse_transform_without_its_factor(length, columns):
    expected = length * np.fft.ifft(columns(length), axis=0)
    assert np.abs(transformed(columns(length)) - expected).max() < 2e-15 * np.abs(expected).max()


def test_a_column_has_the_same_bits_alone_and_among_others(columns):
    together = transformed(columns(64, 16))
    for place in (0, 7, 15):
        np.testing.assert_array_equal(transformed(columns(64, 16)[:, place : place + 1])[:, 0], together[:, place])
