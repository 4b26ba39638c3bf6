"""Bessel functions and the logarithm against 40-digit arithmetic."""

from pathlib import Path

import mpmath as mp
import numba as nb
import numpy as np
import pytest

from qpibench.arithmetic import bessel, elementary
from qpibench.arithmetic.bessel import i0e_f64, j0_y0_f64
from qpibench.arithmetic.elementary import ln_f64

X = np.concatenate([np.geomspace(1e-9, 5, 600), 5 + 1e-9 * np.arange(-2, 3), np.linspace(5, 60, 600), [200.0, 600.0]])


@nb.njit
def _all(x):
    values = np.empty((4, len(x)))
    for k in range(len(x)):
        values[0, k], values[1, k] = j0_y0_f64(x[k])
        values[2, k] = i0e_f64(x[k])
        values[3, k] = ln_f64(x[k])
    return values


@pytest.fixture(scope="module")
def values():
    return dict(zip(("j0", "y0", "i0e", "ln"), _all(X), strict=True))


def _exact(function):
    with mp.workdps(40):
        return np.array([float(function(mp.mpf(float(x)))) for x in X])


@pytest.mark.parametrize(("name", "function"), [("j0", lambda x: mp.besselj(0, x)), ("y0", lambda x: mp.bessely(0, x))])
def test_bessel_functions_are_exact_to_1e13_of_their_envelope(values, name, function):
    exact = _exact(function)
    envelope = np.maximum(np.minimum(1, np.sqrt(2 / (np.pi * X))), np.abs(exact))
    assert (np.abs(values[name] - exact) / envelope).max() < 1e-13
    assert (np.abs(values[name] - exact) / envelope)[X < 60].max() < 2e-14


def test_the_scaled_bessel_function_and_the_logarithm_are_exact_to_the_last_digits(values):
    scaled, ln = _exact(lambda x: mp.exp(-x) * mp.besseli(0, x)), _exact(mp.log)
    assert (np.abs(values["i0e"] - scaled) / scaled).max() < 3e-15
    assert (np.abs(values["ln"] - ln) / np.abs(ln)).max() < 5e-16


def test_the_logarithm_is_exact_near_one():
    x = 1 + np.array([-(2.0**-10), 2.0**-10, 2.0**-40, -(2.0**-50), 0.0])
    exact = np.array([float(mp.log(mp.mpf(float(each)))) for each in x])
    np.testing.assert_allclose(_all(x)[3], exact, rtol=5e-16)


def test_the_coefficients_are_those_of_the_page():
    page = " ".join((Path(__file__).parents[2] / "docs" / "arithmetic.md").read_text(encoding="utf-8").split())
    tables = {"LN_F64": elementary.LN_F64, "J0_F64": bessel.J0_F64, "Y0_F64": bessel.Y0_F64, "P0_F64": bessel.P0_F64}
    tables |= {"Q0_F64": bessel.Q0_F64, "I0_F64": bessel.I0_F64, "I0E_F64": bessel.I0E_F64}
    for name, coefficients in tables.items():
        written = page.partition(f" {name} ")[2].split()[: len(coefficients)]
        assert tuple(map(float.fromhex, written)) == coefficients, name
