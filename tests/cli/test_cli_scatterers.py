"""``qpibench scatterers``: from a map to a file of positions and a picture with their numbers."""

import numpy as np
import pytest
from PIL import Image

from qpibench.extraction.positions import read_positions

X, Y = np.meshgrid(np.linspace(-10, 10, 64), np.linspace(-10, 10, 64))
POSITIONS = np.array([[-6.0, -5.0], [5.5, 1.0], [0.0, 7.0]])


@pytest.fixture
def folder(tmp_path):
    """The file map.npz, in the folder that is returned."""
    topograph = sum(np.exp(-((X - x) ** 2 + (Y - y) ** 2) / 0.7) for x, y in POSITIONS)
    topograph += 0.03 * np.random.default_rng(0).normal(size=X.shape)
    np.savez(tmp_path / "map.npz", Z=topograph, flat=np.ones((64, 64)), size_nm=20.0, first_row="bottom")
    return tmp_path


def asked(folder, *more):
    return ("scatterers", folder / "map.npz", "-o", folder / "found.csv", *more)


def test_positions_responses_and_sizes_are_written_and_a_picture_is_drawn(qpibench, folder):
    outcome = qpibench(*asked(folder, "--channel", "z", "--picture", folder / "found.png", "--json"))
    assert outcome.exit_code == 0, outcome.stderr
    assert (outcome.json["scatterers"], outcome.json["polarity"], outcome.json["at_edge"]) == (3, "bright", 0)
    assert (folder / "found.csv").read_text().splitlines()[0] == "x_nm,y_nm,response,size_nm,at_edge"
    found, in_pixels = read_positions(folder / "found.csv")
    assert not in_pixels
    assert np.linalg.norm(found[:, None] - POSITIONS, axis=2).min(axis=0) == pytest.approx(0, abs=0.1)
    with Image.open(folder / "found.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (np.abs(pixels - [32, 255, 32]).max(axis=2) < 10).sum() > 300  # green circles and numbers


def test_the_number_and_the_size_are_printed(qpibench, folder):
    told = qpibench(*asked(folder, "--channel", "Z", "--width", 1.4, "--most", 2))
    assert "2 bright scatterers of Z, 1.4 nm wide (as told), 0 at an edge" in told.stdout
    found = qpibench(*asked(folder, "--channel", "Z", "--overwrite"))
    assert "3 bright scatterers of Z, 1.5 nm wide (found in the map)" in found.stdout


@pytest.mark.parametrize(
    ("more", "exit_code", "words"),
    [
        ((), 2, ["channels 'Z', 'flat'", "name the one"]),
        (("--channel", "flat"), 3, ["'flat'", "constant"]),
        (("--channel", "Z", "--polarity", "dark", "--threshold", 9), 3, ["no dark scatterer", "9 standard deviations"]),
        (("--channel", "Z", "--energy", 5), 2, ["single map"]),
        (("--channel", "Z", "--width", 50), 2, ["half the map", "50 nm"]),
        (("--channel", "Z", "--picture", "map.npz"), 2, ["map.npz", "written over"]),
        (("--channel", "Z", "--picture", "map.jpg"), 2, ["map.jpg", "does not end in .png"]),
    ],
)
def test_what_cannot_be_found_is_one_sentence_and_writes_nothing(qpibench, folder, more, exit_code, words):
    more = [folder / each if str(each).startswith("map.") else each for each in more]
    qpibench(*asked(folder, *more)).fails(exit_code, *words)
    assert {path.name for path in folder.iterdir()} == {"map.npz"}


def test_the_energy_of_the_layer_that_was_taken_is_printed(qpibench, folder):
    with np.load(folder / "map.npz") as file:
        stack = np.array([file["Z"]] * 2)
    np.savez(folder / "map.npz", Z=stack, energy_mev=[-20.0, 40.0], size_nm=20.0)
    assert "of Z at 40 meV, 1.5 nm wide" in qpibench(*asked(folder, "--energy", 35)).stdout
