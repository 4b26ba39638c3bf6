"""An image as the search of polar sees it: some of its pixels, waves from outside, and harmonics of a residual."""

import numpy as np
import pytest
from shared.harmonic_kernel import HarmonicKernel, interpolated, sites
from shared.nuisance import SETS, Nuisance
from shared.polar import Points, pixels_of
from shared.polar_harmonics import asked_fold
from shared.shown import Shown

from qpibench.grid import Grid

GRID = Grid(ny=49, nx=61, size_y_nm=12.0, size_x_nm=15.0)
PIXELS = pixels_of(GRID)


def shown(image, scatterers=9):
    rng = np.random.default_rng(3)
    places = rng.uniform(-6, 6, size=(2, scatterers))
    return Shown.of(image / image.std(), PIXELS, Points(*places, np.ones(scatterers)), GRID)


def noise():
    return np.random.default_rng(4).normal(size=PIXELS.size)


def test_a_grid_gives_lengths_and_density():
    found = shown(noise())
    assert (found.pitch_nm, found.side_nm, found.reach_nm) == pytest.approx((0.25, 12.0, np.hypot(12, 15)))
    assert found.density == pytest.approx(9 / 180)


def test_thinned_pixels_are_pixels_of_the_image_with_their_columns():
    whole = shown(noise())
    few = whole.thinned(500)
    at = {(x, y): place for place, (x, y) in enumerate(zip(PIXELS.x, PIXELS.y, strict=True))}
    some = np.array([at[x, y] for x, y in zip(few.pixels.x, few.pixels.y, strict=True)])
    assert len(np.unique(some)) == 500
    assert np.array_equal(few.image, whole.image[some])
    for name in SETS:
        assert np.array_equal(few.nuisance[name].smooth, whole.nuisance[name].smooth[some])
    assert {*some % 61} == {*range(61)}
    assert {*some // 61} == {*range(49)}
    assert whole.thinned(PIXELS.size) is whole


def test_waves_from_outside_are_shown_before_the_columns_of_every_set():
    whole = shown(noise())
    waves = Nuisance(np.random.default_rng(5).normal(size=(PIXELS.size, 4)), None, np.arange(1.0, 5))
    wavy = whole.with_waves(waves)
    for name in SETS:
        expected, found = whole.nuisance[name].after(waves), wavy.nuisance[name]
        assert found.variance == pytest.approx(expected.variance)
        assert found.own_products == pytest.approx(expected.own_products)


@pytest.mark.parametrize("fold", [3, 4])
def test_a_residual_asks_for_the_fold_of_its_harmonics(fold):
    spacing = 0.25
    r = sites(24, spacing)
    profile = interpolated(np.sin(4 * r) * np.exp(-r / 2), spacing)
    kernel = HarmonicKernel(spacing, (0, fold, 2 * fold), np.array([0 * profile, *(4 * [profile])]))
    of_noise = shown(noise())
    waves = kernel.superposed(PIXELS, of_noise.scatterers)
    assert asked_fold(of_noise, 0) == 0
    assert asked_fold(shown(waves / waves.std() + 0.5 * noise()), 0) == fold
    assert asked_fold(shown(waves / waves.std() + 0.5 * noise()), fold) == fold


def test_ripples_are_counted_along_the_shorter_side_in_spite_of_noise():
    waves = 2 * np.cos(2 * np.pi * 9 / 12 * PIXELS.x) + 3 * np.cos(2 * np.pi * 2 / 12 * PIXELS.y)
    ripples = shown(waves + noise()).ripples
    assert ripples.finest == pytest.approx(9, abs=1)
    assert ripples.strongest(0) == pytest.approx(2, abs=1)
    assert ripples.strongest(5) == pytest.approx(9, abs=1)
