"""The polynomials against 40-digit arithmetic."""

import mpmath as mp
import numba as nb
import numpy as np
import pytest

from qpibench.arithmetic import elementary


def _vectorised(function, dtype):
    @nb.njit(error_model="numpy")
    def loop(x, out):
        for k in range(len(x)):
            out[k] = function(x[k])

    def run(x):
        x = np.asarray(x, dtype)
        out = np.empty_like(x)
        loop(x, out)
        return out

    return run


def _exact(function, x):
    with mp.workdps(40):
        return np.array([float(function(mp.mpf(float(value)))) for value in x])


SIN2PI = (lambda t: mp.sin(mp.pi * t) ** 2, np.linspace(-3, 7, 4001))
EXP2 = (lambda x: mp.mpf(2) ** x, np.linspace(-39.9, 0, 4001))
EXP2_WIDE = (lambda x: mp.mpf(2) ** x, np.linspace(-39.9, 39.9, 4001))
MINUS2LN = (
    lambda x: -2 * mp.log(x),
    np.concatenate([np.geomspace(2.0**-33, 1, 4001)[:-1], 1 - 2.0 ** -np.arange(5, 25)]),
)
RECIPROCAL = (lambda x: 1 / x, np.geomspace(2.0**-120, 2.0**120, 4001))


@pytest.mark.parametrize(
    ("name", "dtype", "case", "tolerance", "relative"),
    [
        ("sin2pi_f32", np.float32, SIN2PI, 1.5e-7, False),
        ("sin2pi_f64", np.float64, SIN2PI, 5e-16, False),
        ("exp2_f32", np.float32, EXP2, 1.3e-7, True),
        ("exp2_f64", np.float64, EXP2_WIDE, 3e-16, True),
        ("reciprocal_f32", np.float32, RECIPROCAL, 1.2e-7, True),
        ("minus2ln_f32", np.float32, MINUS2LN, 2.5e-7, True),
    ],
)
def test_a_polynomial_is_as_accurate_as_it_says(name, dtype, case, tolerance, relative):
    function, x = case
    x = x.astype(dtype)
    expected = _exact(function, x)
    error = np.abs(_vectorised(getattr(elementary, name), dtype)(x) - expected)
    assert (error / np.abs(expected) if relative else error).max() < tolerance


@pytest.mark.parametrize(
    ("name", "t", "tolerance"),
    [
        ("sincospi_f64", np.linspace(-2.3, 2.3, 4001), 3e-16),
        ("sincospi_f32", np.linspace(-0.25, 0.25, 4001, dtype=np.float32), 9e-8),
    ],
)
def test_sine_and_cosine_are_exact_to_the_last_digits(name, t, tolerance):
    function = getattr(elementary, name)

    @nb.njit
    def both(t, out):
        for k in range(len(t)):
            out[k, 0], out[k, 1] = function(t[k])

    out = np.empty((len(t), 2), t.dtype)
    both(t, out)
    assert np.abs(out[:, 0] - _exact(lambda x: mp.sin(mp.pi * x), t)).max() < tolerance
    assert np.abs(out[:, 1] - _exact(lambda x: mp.cos(mp.pi * x), t)).max() < tolerance


@pytest.mark.parametrize(("name", "dtype"), [("exp2_f32", np.float32), ("exp2_f64", np.float64)])
def test_exponentials_below_the_floor_are_exactly_zero(name, dtype):
    exp2 = _vectorised(getattr(elementary, name), dtype)
    assert exp2([-40.0])[0] == pytest.approx(2.0**-40, rel=1e-6)
    assert np.array_equal(exp2([-40.001, -1e4, -1e30, -np.inf]), np.zeros(4))
    assert exp2([-0.0])[0] == 1
