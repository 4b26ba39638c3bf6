"""Bragg peaks: found, removed, and used to undo drift and shear."""

from dataclasses import replace

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.maps.bragg_peaks import find_peaks
from qpibench.maps.preparation import apply, undone


def only(maps):
    return maps.channels[0].values


def both_of(found, wanted):
    """Largest distance of two wavevectors from wanted ones, whichever of q and -q is named."""
    return max(min(np.linalg.norm(f - s * w) for f in np.asarray(found) for s in (1, -1)) for w in wanted)


@pytest.mark.parametrize("height", [0.1, 1.0])
def test_a_lattice_is_found_and_removed_and_the_ripples_are_kept(maps_of, ripples, square, error, height):
    prepared = apply(maps_of(Z=ripples + height * square.waves()), "bragg")
    assert both_of(prepared.steps[0].found["q_rad_nm"]["Z"], square.q) < 0.01
    assert error(only(prepared), ripples) < 0.05
    assert error(only(prepared)[8:-8, 8:-8], ripples[8:-8, 8:-8]) < 0.02


def test_a_lattice_is_removed_beside_points_that_were_not_measured(maps_of, square):
    z = 1e-12 * square.waves()
    z[20:40, 30:50] = np.nan
    rest = only(apply(maps_of(Z=z), "bragg", q_rad_nm=square.q.tolist()))
    assert np.array_equal(np.isnan(rest), np.isnan(z))
    assert np.nanstd(rest) < 0.004 * np.nanstd(z)


def test_ripples_have_no_bragg_peaks_and_stay_as_they_are(maps_of, ripples):
    prepared = apply(maps_of(Z=ripples), "bragg")
    assert prepared.steps[0].found["q_rad_nm"] == {"Z": []}
    np.testing.assert_array_equal(only(prepared), ripples)


@pytest.mark.parametrize("shape", [(96, 80), (64, 64), (81, 80)])
@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1), (1, 0.5), (0.6, 1), (1, -0.2), (0.995, 0.3)])
def test_a_lattice_at_the_nyquist_wavevector_is_found_once_and_removed(maps_of, shape, direction):
    noise = 0.01 * np.random.default_rng(0).normal(size=shape)
    maps = maps_of(Z=noise)
    grid = maps.grid
    q = np.pi / 0.2 * np.array(direction)
    r = np.stack(np.meshgrid(grid.x_nm, grid.y_nm))
    z = noise + np.cos(np.einsum("j,jyx->yx", q, r - np.array([grid.x_nm[0], grid.y_nm[0]])[:, None, None]))
    [found] = find_peaks(z, grid)
    aliases = [s * q + 2 * np.pi / 0.2 * np.array([x, y]) for s in (1, -1) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    assert min(np.linalg.norm(found - each) for each in aliases) < 0.01
    assert found[0] > 0 or (abs(found[0]) < 0.01 and found[1] > 0)
    assert np.abs(found).max() <= np.pi / 0.2 * (1 + 1e-6)
    prepared = apply(maps_of(Z=z), "bragg")
    again = apply(maps_of(Z=z), "bragg", q_rad_nm=prepared.steps[0].found["q_rad_nm"]["Z"])
    for each in (prepared, again):
        assert only(each)[8:-8, 8:-8].std() < 0.015


def test_drift_is_not_measured_by_a_wave_whose_phase_is_unknown(maps_of):
    z = np.cos(np.pi * np.arange(80)) + np.cos(0.3 * np.pi * np.arange(96))[:, None]
    with pytest.raises(InvalidDataError, match=r"The wave \[.*\] rad/nm cannot be told from its negative"):
        apply(maps_of(Z=z + 0.01 * np.random.default_rng(0).normal(size=z.shape)), "drift")


@pytest.fixture
def drifted(square):
    """A displacement (xy, y, x) in nm that varies slowly, 0.23 nm in the root of the mean square."""
    x, y = square.points
    field = np.stack([0.25 * np.sin(2 * np.pi * y / 25 + 0.3), 0.2 * np.cos(2 * np.pi * (x + y) / 30)])
    return field - field.mean(axis=(1, 2), keepdims=True)


def test_a_known_drift_is_recovered_and_undone_in_all_channels(maps_of, square, drifted, ripples, error):
    from scipy.ndimage import map_coordinates

    places = np.stack(np.indices(ripples.shape)) - drifted[::-1] / 0.2
    bent = map_coordinates(ripples, places, order=3, mode="nearest")
    maps = apply(maps_of(Z=square.waves(drifted), Current=bent), "drift", q_rad_nm=square.q.tolist())
    assert maps.steps[0].found["largest_nm"] == pytest.approx(np.linalg.norm(drifted, axis=0).max(), abs=0.03)
    inside = np.s_[4:-4, 4:-4]
    assert error(maps.channel("Z").values[inside], square.waves()[inside]) < 0.06
    assert error(maps.channel("Current").values[inside], ripples[inside]) < 0.05 < 0.3 < error(bent, ripples)


def test_drift_is_undone_along_the_lattice_that_the_map_shows(maps_of, square, drifted, ripples):
    once = apply(maps_of(Z=square.waves(drifted) + 0.5 * ripples), "drift")
    again = apply(once, "drift", q_rad_nm=once.steps[0].found["q_rad_nm"], length_nm=1.6)
    assert once.steps[0].found["largest_nm"] > 0.2 > 0.08 > again.steps[1].found["largest_nm"]


def test_drift_is_undone_where_lines_were_not_measured_and_they_stay_so(maps_of, square, drifted, error):
    z = square.waves(drifted)
    z[70:] = np.nan
    straight = only(apply(maps_of(Z=z), "drift", q_rad_nm=square.q.tolist()))
    assert np.isnan(straight[73:]).all()
    shift_nm = drifted[:, :70].mean(axis=(1, 2))[:, None, None]  # the lattice does not tell it
    assert error(straight[4:64, 4:-4], square.waves(shift_nm)[4:64, 4:-4]) < 0.1


def test_a_strained_lattice_becomes_that_of_the_sample(maps_of, square):
    strained = square.q @ np.linalg.inv([[1.03, 0.02], [-0.01, 0.97]])
    prepared = apply(maps_of(Z=square.waves(vectors=strained)), "shear", lattice="square", lattice_constant_nm=0.8)
    first, second = find_peaks(only(prepared), prepared.grid)[:2]
    assert np.linalg.norm([first, second], axis=1) * 0.8 / (2 * np.pi) == pytest.approx([1, 1], abs=1e-3)
    assert first @ second / (first @ first) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("step", [{"name": "drift"}, {"name": "shear", "lattice": "square"}])
def test_a_later_step_is_undone_with_the_same_channel_of_reference(maps_of, square, drifted, step):
    strained = square.q @ np.linalg.inv([[1.03, 0.02], [-0.01, 0.97]])
    whole = maps_of(Z=square.waves(), Current=square.waves(drifted, strained))
    current = replace(whole, channels=(whole.channel("Current"),))
    straight = apply(current, **step)
    again = undone(apply(straight, "plane"), whole)
    np.testing.assert_array_equal(again.channel("Current").values, only(straight))
    assert {each.found["reference"] for each in (*straight.steps, *again.steps)} == {"Current"}
    assert undone(apply(again, "plane"), whole).steps == again.steps
    with pytest.raises(UsageError, match="Current"):
        undone(apply(straight, "plane"), replace(whole, channels=(whole.channel("Z"),)))


@pytest.mark.parametrize("step", [{"name": "drift"}, {"name": "shear", "lattice": "square"}])
def test_maps_without_a_lattice_are_one_sentence(maps_of, ripples, step):
    with pytest.raises(InvalidDataError, match=r"'Z' has no Bragg peaks in two directions \(0 found"):
        apply(maps_of(Z=ripples), **step)


def test_a_lattice_of_another_kind_is_one_sentence(maps_of, square):
    with pytest.raises(InvalidDataError, match="90 degrees apart, are not those of a strained hexagonal lattice"):
        apply(maps_of(Z=square.waves()), "shear", lattice="hexagonal")
