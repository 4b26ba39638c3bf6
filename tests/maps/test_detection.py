"""Scatterers of synthetic topographs and maps are found: where they are, no ripple among them, and their size."""

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.families import get_family
from qpibench.grid import Grid
from qpibench.maps import Axis, Channel, Maps, Source
from qpibench.maps.detection import find_scatterers
from qpibench.maps.preparation import apply
from qpibench.physics.superposition import superpose

GRID = Grid(ny=96, nx=96, size_y_nm=28.5, size_x_nm=28.5)
POSITIONS = np.array([[-10.1, -9.0], [-4.2, 3.3], [0.6, -7.7], [3.1, 8.45], [7.9, -1.15], [10.6, 11.2]])
WAVE = {"energy": 5.0, "k": 0.857, "damping": 0.02, "delta": 2.2, "alpha": 0.7, "tip_fwhm": 0.5, "mass_ratio": 1.0}
WAVE |= {"axis": 0.0, "share_2": 0.0, "k_2": 1.0, "damping_2": 0.0, "delta_2": 0.0, "unit": 0.04}


def spots(grid=GRID, positions=POSITIONS, *, width=1.2, noise=0.05):
    x, y = np.meshgrid(grid.x_nm, grid.y_nm)
    z = sum(np.exp(-4 * np.log(2) * ((x - a) ** 2 + (y - b) ** 2) / width**2) for a, b in positions)
    return z + noise * np.random.default_rng(2).normal(size=z.shape)


def maps_of(values, grid=GRID, axis=None, name="Z"):
    source = Source(file="made.npy", format="made up", sha256="0" * 64)
    return Maps(grid=grid, channels=(Channel(name=name, unit="m", values=values),), source=source, axis=axis)


def distances(found, true=POSITIONS):
    return np.linalg.norm(found.position_nm[:, None] - true, axis=2)


def finds_all(found, within, true=POSITIONS):
    return len(found) == len(true) and distances(found, true).min(axis=0).max() < within


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e9])
def test_spots_on_a_tilted_terrace_with_line_offsets_are_found_to_a_third_of_a_pixel(unit):
    x, y = np.meshgrid(GRID.x_nm, GRID.y_nm)
    offsets = np.random.default_rng(3).normal(0, 0.3, (96, 1))
    found = find_scatterers(apply(maps_of(unit * (spots() + 0.2 * x - 0.1 * y + offsets)), "lines"))
    assert finds_all(found, within=0.1)
    assert found.polarity == "bright"
    assert found.size_nm == pytest.approx(1.2, rel=0.1)
    assert list(found.response) == sorted(found.response, reverse=True)


def test_the_same_map_upside_down_has_dark_scatterers_at_the_same_places():
    bright, dark = find_scatterers(maps_of(spots())), find_scatterers(maps_of(-spots()))
    assert dark.polarity == "dark"
    assert np.array_equal(bright.position_nm, dark.position_nm)
    with pytest.raises(InvalidDataError, match="no dark scatterer"):
        find_scatterers(maps_of(spots(noise=0)), polarity="dark", threshold=1e5)


def test_ripples_around_scatterers_are_not_counted():
    image = superpose(GRID, get_family("surface_state"), POSITIONS, **WAVE)
    assert finds_all(find_scatterers(maps_of(image), threshold=3), within=0.3)


def test_pixels_need_not_be_square():
    grid = Grid(ny=48, nx=96, size_y_nm=28.2, size_x_nm=28.5)
    found = find_scatterers(maps_of(spots(grid), grid))
    assert finds_all(found, within=0.2)
    assert found.size_nm == pytest.approx(1.2, rel=0.15)


def test_positions_are_in_the_pitch_of_each_axis_even_if_both_are_nearly_the_same():
    grid = Grid(ny=300, nx=300, size_y_nm=99.66, size_x_nm=99.57)
    corners = np.array([[-46.0, -46.5], [45.5, 46.0], [-12.0, 30.0], [47.0, -46.0]])
    found = find_scatterers(maps_of(spots(grid, corners, noise=0.01), grid), size_nm=1.2)
    assert finds_all(found, within=0.02, true=corners)


def test_nothing_is_found_where_nothing_was_measured_and_spots_beside_it_are_marked():
    at_edges = np.array([*POSITIONS, [-14.2, 0.1]])
    image = spots(positions=at_edges)
    image[80:] = np.nan  # the last scatterer of POSITIONS, as in an unfinished scan
    image[44, 75] = np.nan  # beside [7.9, -1.15]
    found = find_scatterers(maps_of(image))
    true = np.delete(at_edges, 5, axis=0)
    assert finds_all(found, within=0.3, true=true)
    marked = true[distances(found, true)[found.at_edge].argmin(axis=1)]
    assert sorted(marked.tolist()) == [[-14.2, 0.1], [7.9, -1.15]]


@pytest.mark.parametrize(
    "grid", [Grid(ny=48, nx=48, size_y_nm=14.1, size_x_nm=14.1), Grid(ny=48, nx=30, size_y_nm=14.1, size_x_nm=14.26)]
)
def test_scatterers_at_the_edge_lie_inside_the_field_so_that_they_can_be_extracted(grid):
    across, along = grid.size_x_nm / 2, np.arange(-6, 7, 2.0)
    edge = np.concatenate([np.stack([np.full(7, side * across), along], axis=1) for side in (-1, 1)])
    top = np.stack([along[1:-1], np.full(5, grid.size_y_nm / 2)], axis=1)
    found = find_scatterers(maps_of(spots(grid, np.concatenate([edge, top])), grid))
    assert len(found) == 19
    assert (np.abs(found.position_nm) <= [grid.size_x_nm / 2, grid.size_y_nm / 2]).all()


def test_told_sizes_and_numbers_are_kept():
    found = find_scatterers(maps_of(spots()), size_nm=1.5, most=2)
    assert (len(found), found.size_nm, found.is_size_found) == (2, pytest.approx(1.5), False)


def test_the_layer_of_a_stack_is_chosen_by_its_energy():
    axis = Axis(name="Bias", unit="V", values=np.array([-0.02, 0.0, 0.02]))
    noise = np.random.default_rng(0).normal(0, 0.05, (3, 96, 96))
    noise[2] = spots()
    found = find_scatterers(maps_of(noise, axis=axis), energy_mev=19)
    assert found.layer == 2
    assert finds_all(found, within=0.1)
    with pytest.raises(UsageError, match="has 3 layers; choose the energy"):
        find_scatterers(maps_of(noise, axis=axis))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((96, 96), 3e-9), "constant or a plane"),
        (1e-12 * (GRID.x_nm + 2 * GRID.y_nm[:, None]) + 5e-9, "constant or a plane"),
        (np.full((96, 96), np.nan), "no measured point"),
        (np.random.default_rng(1).normal(size=(96, 96)), "no scatterer: no round spot exceeds 6"),
    ],
)
def test_maps_without_scatterers_are_one_sentence(image, words):
    with pytest.raises(InvalidDataError, match=words):
        find_scatterers(maps_of(image), threshold=6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"polarity": "grey"}, "bright, dark, either; found 'grey'"),
        ({"size_nm": 0.1}, "from one pixel to half the map, 0.3 to 14.4 nm; found 0.1 nm"),
        ({"size_nm": float("nan")}, "found nan nm"),
        ({"most": 0}, "at least 1; found 0"),
        ({"threshold": -1}, "positive number of standard deviations; found -1"),
        ({"share": 2}, "from 0 to 1; found 2"),
        ({"energy_mev": 3}, "a single map"),
        ({"channel": "Current"}, "no channel 'Current'"),
    ],
)
def test_impossible_settings_are_one_sentence(settings, words):
    with pytest.raises(UsageError, match=words):
        find_scatterers(maps_of(spots()), **settings)
