"""What an extraction explains: the scatterers and the background that its entry found, not those that were told."""

import csv

import numpy as np
import pytest

from qpibench.extraction.explained import BACKGROUNDS, background, scatterers_of
from qpibench.extraction.findings import find
from qpibench.extraction.held_out import held_out_score
from qpibench.extraction.kernel_file import KernelFile, read_kernel_file, write_kernels
from qpibench.extraction.positions import read_positions
from qpibench.extraction.report import write_report
from qpibench.extraction.stack import extract_stack
from qpibench.extraction.tables import tables
from qpibench.extraction.texts import unexplained
from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.maps import Source
from qpibench.physics.superposition import superpose

GRID = Grid(ny=40, nx=48, size_y_nm=7.8, size_x_nm=9.4)
SIZE = (7.8, 9.4)
POSITIONS = np.random.default_rng(0).uniform([-4.5, -3.8], [4.5, 3.8], (20, 2))
CLEAN = superpose(GRID, eq7, POSITIONS, fold=3, phi1=0.3, B=2.0, phi2=0.0, C=0.3)
NOISE = 0.1 * CLEAN.std()
IMAGE = CLEAN + np.random.default_rng(1).normal(0, NOISE, GRID.shape)
LINES = np.random.default_rng(2).normal(0, 1, (40, 1))
SHOWN = {
    "offset": 0.7 + np.zeros(GRID.shape),
    "offset and tilt": 0.7 - 0.2 * GRID.x_nm + 0.3 * GRID.y_nm[:, None],
    "offset, tilt and lines": 0.7 - 0.2 * GRID.x_nm + 0.3 * GRID.y_nm[:, None] + LINES,
}


@pytest.mark.parametrize("nuisance", BACKGROUNDS)
def test_a_background_is_found_in_the_pixels_that_were_seen(nuisance):
    left = SHOWN[nuisance].copy()
    left[np.random.default_rng(3).random(GRID.shape) < 0.3] = np.nan
    np.testing.assert_allclose(background(left, GRID, nuisance), SHOWN[nuisance], atol=1e-12)


@pytest.mark.parametrize("nuisance", ["none", None, "drift"])
def test_without_a_stated_background_there_is_none(nuisance):
    assert not background(SHOWN["offset"], GRID, nuisance).any()


def test_a_background_of_lines_without_pixels_is_finite():
    left = SHOWN["offset, tilt and lines"].copy()
    left[3:6] = np.nan
    assert np.isfinite(background(left, GRID, "offset, tilt and lines")).all()


@pytest.mark.parametrize(
    "stated",
    [{}, {"positions_nm": [[0.0, 1.0]]}, {"positions_nm": [[0.0, np.nan]], "strengths": [1.0]},
     {"positions_nm": [[0.0, 1.0]], "strengths": [1.0, 1.0]}],
)  # fmt: skip
def test_the_told_scatterers_count_unless_an_entry_states_others(stated):
    places, strengths = scatterers_of(stated, POSITIONS)
    np.testing.assert_array_equal(places, POSITIONS)
    np.testing.assert_array_equal(strengths, np.ones(20))


def measured(image, positions, method):
    """The kernels of an image."""
    source = Source(file="a.npy", format="array", sha256="0" * 64)
    kernels = extract_stack(image, positions, SIZE, method)
    return KernelFile(kernels=kernels, channel="map", unit="A", axis=None, source=source)


def test_scatterers_of_a_mirrored_map_are_doubted_and_noise_is_not():
    assert "1 of 1 layer" in unexplained(find(measured(IMAGE, POSITIONS * [1, -1], "polar")))
    noisy = CLEAN + np.random.default_rng(1).normal(0, CLEAN.std(), GRID.shape)
    findings = find(measured(noisy, POSITIONS, "polar"))
    assert findings.layers[0].residual_share > 0.5
    assert unexplained(findings) == ""


@pytest.fixture(scope="module")
def refined():
    """Kernels by `refine` from an image in which two scatterers are not told, with an offset and a tilt."""
    image = IMAGE + CLEAN.std() * (1 + 0.2 * GRID.x_nm)
    return measured(image, POSITIONS[2:], "refine")


def test_the_fit_has_the_scatterers_and_the_background_that_were_found(refined):
    layer = find(refined).layers[0]
    assert layer.nuisance == "offset and tilt"
    assert len(refined.kernels.position_nm) == 18
    assert len(layer.scatterers[0]) == 20
    assert layer.scatterers_text == "The method found 20 scatterers for 18 told, 2 of them where none is told."
    assert layer.residual_rms == pytest.approx(NOISE, rel=0.1)


def test_a_report_tells_the_scatterers_that_were_found(refined, tmp_path):
    write_kernels(refined, tmp_path / "kernel.h5")
    write_report(read_kernel_file(tmp_path / "kernel.h5"), tmp_path / "kernel.html")
    assert "found 20 scatterers for 18 told" in (tmp_path / "kernel.html").read_text(encoding="utf-8")


def test_the_table_of_scatterers_that_were_found_can_be_told_again(refined, tmp_path):
    path = tmp_path / "scatterers.csv"
    path.write_bytes(tables(find(refined), "A")["scatterers.csv"])
    places, in_pixels = read_positions(path)
    assert not in_pixels
    np.testing.assert_allclose(places[:18], POSITIONS[2:], atol=0.05)
    with open(path, encoding="utf-8", newline="") as file:
        np.testing.assert_allclose([float(row["strength"]) for row in csv.DictReader(file)], 1, atol=0.1)


@pytest.mark.slow
def test_held_out_pixels_are_predicted_with_the_scatterers_that_were_found():
    told = POSITIONS[1:]
    by_told, by_found = (held_out_score(IMAGE, told, SIZE, name, noise=NOISE).score for name in ("polar", "refine"))
    assert by_found < 1.3 < by_told


def test_held_out_pixels_do_not_show_the_lines_that_an_entry_states():
    image = IMAGE + CLEAN.std() * LINES
    assert held_out_score(image, POSITIONS, SIZE, "polar", noise=NOISE).score == pytest.approx(1, abs=0.15)
