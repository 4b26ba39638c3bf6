"""dI/dV from currents, and its normalisations."""

from dataclasses import replace

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.maps import Axis, Channel
from qpibench.maps.preparation import apply

BIAS = np.linspace(0.3, -0.2, 26)
UNEQUAL = np.sort(np.concatenate([np.linspace(-0.2, 0.3, 20), [0.011, 0.013, 0.27]]))
HEIGHT = np.random.default_rng(2).uniform(0.5, 2, (5, 6))


def current(bias):
    """I = h (V + 2 V^2 - V^3) in nA, (axis, y, x), and its derivative."""
    v = np.asarray(bias)[:, None, None]
    return 1e-9 * HEIGHT * (v + 2 * v**2 - v**3), 1e-9 * HEIGHT * (1 + 4 * v - 3 * v**2)


@pytest.mark.parametrize("bias", [BIAS, BIAS[::-1], UNEQUAL])
@pytest.mark.parametrize("filter", [{"window": 7}, {"filter": "gaussian", "width_mev": 40}])
def test_the_derivative_of_a_cubic_is_exact_at_the_order_3_and_the_current_stays(maps_of, bias, filter):
    i, slope = current(bias)
    maps = apply(maps_of(Current=i, bias_v=bias), "derivative", order=3, **filter)
    derived = maps.channel("dI/dV of Current")
    np.testing.assert_allclose(derived.values, slope, rtol=1e-9, atol=1e-17)
    assert derived.unit == "A/V"
    np.testing.assert_array_equal(maps.channel("Current").values, i)


def test_the_filter_is_that_of_scipy_for_equal_steps(maps_of):
    from scipy.signal import savgol_filter

    i = np.random.default_rng(1).normal(size=(26, 5, 6))
    derived = apply(maps_of(Current=i, bias_v=BIAS), "derivative", window=9, order=2).channel("dI/dV of Current").values
    wanted = savgol_filter(i, 9, 2, deriv=1, delta=BIAS[1] - BIAS[0], axis=0)
    np.testing.assert_allclose(derived, wanted, rtol=1e-9, atol=1e-9)


def test_the_gaussian_filter_is_the_derivative_of_the_smoothed_current_inside_the_sweep(maps_of):
    from scipy.ndimage import gaussian_filter1d

    i, step = np.random.default_rng(1).normal(size=(61, 2, 2)), 0.01
    maps = maps_of(Current=i, bias_v=step * np.arange(61))
    derived = apply(maps, "derivative", filter="gaussian", width_mev=30, order=1).channel("dI/dV of Current").values
    wanted = gaussian_filter1d(i, 3, axis=0, order=1, truncate=6) / step
    np.testing.assert_allclose(derived[20:-20], wanted[20:-20], atol=1e-3 * np.abs(wanted).max())


def test_a_point_that_was_not_measured_does_not_spread_along_the_sweep(maps_of):
    i, slope = current(BIAS)
    i[4, 2, 3] = i[20:, 0, 0] = i[:, 4, 5] = np.nan
    derived = apply(maps_of(Current=i, bias_v=BIAS), "derivative", order=3).channel("dI/dV of Current").values
    assert np.array_equal(np.isnan(derived), np.isnan(i))
    np.testing.assert_allclose(derived[~np.isnan(i)], slope[~np.isnan(i)], rtol=1e-9, atol=1e-17)


@pytest.mark.parametrize("bias", [BIAS, BIAS[::-1]])
def test_the_height_of_the_tip_drops_out_of_every_normalisation(maps_of, bias):
    i, slope = current(bias)
    maps = maps_of(Current=i, G=slope, bias_v=bias, units={"G": "A/V"})
    for step, name in (("normalised", "normalised G"), ("ratio", "ratio of G"), ("set_point", "G over the set point")):
        found = apply(maps, step, floor=1e-6).channel(name).values
        np.testing.assert_allclose(found, found[:, :1, :1] * np.ones_like(HEIGHT), rtol=1e-6)


def test_normalisations_have_their_values_and_units(maps_of):
    i, slope = current(BIAS)
    maps = maps_of(Current=i, G=slope, bias_v=BIAS, units={"G": "A/V"})
    v = BIAS[0]
    normal = apply(maps, "normalised").channel("normalised G")
    assert (normal.unit, normal.values[0, 0, 0]) == ("1", pytest.approx((1 + 4 * v - 3 * v**2) / (1 + 2 * v - v**2)))
    ratio = apply(maps, "ratio")
    assert ratio.axis.values == pytest.approx(BIAS[(BIAS > 1e-9) & (BIAS < 0.2001)])
    w = ratio.axis.values[0]
    assert ratio.channels[0].values[0, 0, 0] == pytest.approx((1 + 4 * w - 3 * w**2) / (1 - 4 * w - 3 * w**2))
    over = apply(maps, "set_point", set_point_v=-0.2).channel("G over the set point")
    assert over.unit == "1/V"
    np.testing.assert_allclose(over.values, slope / i[-1])
    np.testing.assert_allclose(apply(maps, "set_point", set_point_a=2e-9).channels[-1].values, slope / 2e-9)


def test_the_set_point_is_that_of_the_file(maps_of):
    i, slope = current(BIAS)
    maps = replace(maps_of(Current=i, G=slope, bias_v=BIAS, units={"G": "A/V"}), metadata={"set-point bias": "-2E-1 V"})
    assert apply(maps, "set_point").steps[0].found["bias_v"] == pytest.approx(-0.2)


def test_a_divisor_below_the_floor_is_raised_to_it_and_stated(maps_of):
    i, slope = current(BIAS)
    i[:, 0, 0] = 0
    prepared = apply(maps_of(Current=i, G=slope, bias_v=BIAS, units={"G": "A/V"}), "normalised", floor=0.1)
    floor = prepared.steps[0].found["floor_a_per_v"]["G"]
    np.testing.assert_allclose(prepared.channel("normalised G").values[0, 0, 0], slope[0, 0, 0] / floor)


@pytest.mark.parametrize("step", ["normalised", "set_point"])
def test_a_named_current_is_taken_in_its_unit(maps_of, step):
    i, slope = current(BIAS)
    wanted = apply(maps_of(Current=i, G=slope, bias_v=BIAS, units={"G": "A/V"}), step).channels[-1]
    units = {"G": "A/V", "I": "nA", "J": "", "W": "V"}
    maps = maps_of(G=slope, I=1e9 * i, J=i, W=i, bias_v=BIAS, units=units)
    found = apply(maps, step, current="I").channels[-1]
    np.testing.assert_allclose(found.values, wanted.values)
    assert found.unit == wanted.unit
    assert not apply(maps, step, current="J").channels[-1].unit
    with pytest.raises(InvalidDataError, match="'W' is in V, which is no unit of current"):
        apply(maps, step, current="W")


@pytest.mark.parametrize("step", ["normalised", "set_point"])
def test_a_current_of_the_other_direction_is_taken_only_if_it_is_named(maps_of, step):
    i, slope = current(BIAS)
    forward, backward = maps_of(Current=i, G=slope, bias_v=BIAS, units={"G": "A/V"}).channels
    forward, backward = replace(forward, direction="forward"), replace(backward, direction="backward")
    maps = replace(maps_of(Current=i, bias_v=BIAS), channels=(forward, backward))
    with pytest.raises(
        InvalidDataError,
        match=r"no current of the direction of 'G \(backward\)'; name one with current \(.*'Current \(forward\)'\)",
    ):
        apply(maps, step)
    named = apply(maps, step, current="Current (forward)").channels[-1]
    untold = apply(replace(maps, channels=(forward, replace(backward, direction=None))), step).channels[-1]
    np.testing.assert_array_equal(untold.values, named.values)


@pytest.mark.parametrize("step", ["derivative", "normalised", "ratio", "set_point"])
def test_maps_without_the_axis_or_the_channel_are_one_sentence(maps_of, step):
    i, slope = current(BIAS)
    with pytest.raises(InvalidDataError, match=r"The maps of made\.npy have no axis; this step needs spectra"):
        apply(maps_of(Current=i[0], G=slope[0]), step)
    swept = maps_of(X=i, bias_v=BIAS, units={"X": "V"})
    with pytest.raises(InvalidDataError, match=r"made\.npy has no .* along the axis: 'X' in V"):
        apply(swept, step)
    with pytest.raises(InvalidDataError, match="'Z rel' in m, not a bias"):
        apply(replace(swept, axis=Axis(name="Z rel", unit="m", values=BIAS)), step)
    with pytest.raises(InvalidDataError, match="neither rise nor fall throughout"):
        apply(replace(swept, axis=Axis(name="Bias", unit="V", values=np.abs(BIAS))), step)
    flat = replace(swept, channels=(*swept.channels, Channel(name="Z", unit="m", values=i[0])))
    with pytest.raises(InvalidDataError, match="'Z' is a single map"):
        apply(flat, step, channels=["Z"])


def test_what_a_sweep_cannot_give_is_one_sentence(maps_of):
    i, slope = current(BIAS)
    maps = maps_of(Current=i, G=slope, bias_v=BIAS + 0.5, units={"G": "A/V"})
    with pytest.raises(UsageError, match="26 biases, and the filter needs 31"):
        apply(maps, "derivative", window=31)
    with pytest.raises(InvalidDataError, match=r"run from 0\.3 to 0\.8 V; ratio maps need both signs"):
        apply(maps, "ratio")
    with pytest.raises(UsageError, match=r"set point at 0\.1 V is outside of the sweep from 0\.3 to 0\.8 V"):
        apply(maps, "set_point", set_point_v=0.1)


def test_a_bias_that_is_0_but_for_rounding_is_0(maps_of):
    bias = np.linspace(-0.1, 0.1, 151)
    i, slope = current(bias)
    assert bias[75] != 0
    maps = maps_of(Current=i, bias_v=bias)
    maps = replace(maps, channels=(*maps.channels, Channel(name="dI/dV", unit="A/V", values=slope)))
    assert (apply(maps, "normalised").channel("normalised dI/dV").values[75] == 1).all()
    assert apply(maps, "ratio", channels=["dI/dV"]).axis.values.min() > 1e-3


def test_a_bias_of_the_tip_becomes_that_of_the_sample(maps_of):
    maps = replace(maps_of(Current=current(BIAS)[0], bias_v=BIAS), metadata={"set-point bias": "-2E-1 V"})
    turned = apply(maps, "tip_bias")
    np.testing.assert_array_equal(turned.axis.energy_mev, -maps.axis.energy_mev)
    np.testing.assert_array_equal(turned.channel("Current").values, maps.channel("Current").values)
    assert turned.set_point_bias_v == 0.2
    with pytest.raises(InvalidDataError, match="no axis"):
        apply(replace(maps, axis=None, channels=()), "tip_bias")
