"""``qpibench maps`` and ``qpibench prepare``: what a microscope's file contains, and steps that can be taken back."""

import warnings

import numpy as np
import pytest

from qpibench.maps.file import read

PNG = b"\x89PNG"


@pytest.fixture
def scan(nanonis, tmp_path):
    """A scan with a plane, as the file scan.sxm in the folder that is returned."""
    y, x = np.mgrid[:6, :8]
    current = (1e-12 * (x + 2 * y + np.random.default_rng(0).normal(0, 0.1, (6, 8)))).astype(np.float32)
    images = {("Current", "A"): {"forward": current, "backward": current}}
    (tmp_path / "scan.sxm").write_bytes(nanonis.scan_bytes(images, range_m=(8e-9, 6e-9)))
    return tmp_path


def test_the_contents_of_a_file_are_told_and_drawn(qpibench, scan):
    outcome = qpibench("maps", scan / "scan.sxm", "-o", scan / "scan.png", "--save", scan / "scan.h5")
    assert outcome.exit_code == 0
    for words in ("Nanonis scan", "8 x 6 points", "Current (backward)", "100%"):
        assert words in outcome.stdout
    assert (scan / "scan.png").read_bytes().startswith(PNG)
    assert read(scan / "scan.h5").source.format == "Nanonis scan"
    fields = qpibench("maps", scan / "scan.h5", "--json").json
    assert [one["direction"] for one in fields["channels"]] == ["forward", "backward"]


@pytest.mark.parametrize("name", ["Strom \x08", "\u7535\u6d41", "I $x^{$ A", "$\\foo$"])
def test_a_name_of_any_characters_is_drawn_without_a_word(qpibench, scan, nanonis, name):
    images = {(name, "A"): {"forward": np.arange(48, dtype=np.float32).reshape(6, 8)}}
    (scan / "odd.sxm").write_bytes(nanonis.scan_bytes(images, range_m=(8e-9, 6e-9)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert qpibench("maps", scan / "odd.sxm", "-o", scan / "odd.png").exit_code == 0
        found = qpibench("scatterers", scan / "odd.sxm", "-o", scan / "a.csv", "--picture", scan / "a.png")
    assert (found.exit_code, "Unexpected" in found.stderr) in [(0, False), (3, False)]


def test_single_scans_are_joined_to_a_stack(qpibench, scan, nanonis):
    image = np.ones((6, 8), np.float32) + np.arange(8, dtype=np.float32)
    for name, bias in (("up.sxm", 0.02), ("low.sxm", -0.01)):
        images = {("Current", "A"): {"forward": image}}
        (scan / name).write_bytes(nanonis.scan_bytes(images, range_m=(8e-9, 6e-9), bias=bias))
    both = (scan / "up.sxm", scan / "low.sxm")
    outcome = qpibench("maps", *both, "--save", scan / "stack.h5", "-o", scan / "stack.png")
    assert outcome.exit_code == 0
    assert "Bias: 2 values, -0.01 to 0.02 V" in outcome.stdout
    assert read(scan / "stack.h5").channel("Current").values.shape == (2, 6, 8)
    chosen = qpibench("maps", *both, "--channel", "current", "--energies", "20,-10", "--json").json
    assert chosen["axis"]["values"] == [-0.01, 0.02]
    qpibench("maps", *both, "--energies", "5,7").fails(2, "tells its bias itself")
    qpibench("maps", *both, "--save", scan / "low.sxm", "--overwrite").fails(2, "low.sxm")


def test_steps_are_made_recorded_and_taken_back(qpibench, scan):
    steps = ("--step", "plane order=1", "--step", 'gaussian strength=light channels=["Current (forward)"]')
    made = qpibench("prepare", scan / "scan.sxm", *steps, "-o", scan / "done.h5", "--picture", scan / "steps.png")
    assert made.exit_code == 0
    after = read(scan / "done.h5")
    assert [step.name for step in after.steps] == ["plane", "gaussian"]
    assert np.abs(after.channel("Current").values).max() < 1e-12
    assert after.steps[1].settings["channels"] == ["Current (forward)"]
    assert (scan / "steps.png").read_bytes().startswith(PNG)
    again = ("prepare", scan / "done.h5", "--undo", scan / "scan.sxm", "-o", scan / "done.h5")
    qpibench(*again).fails(2, "exists already", "--overwrite")
    assert qpibench(*again, "--overwrite").exit_code == 0
    assert [step.name for step in read(scan / "done.h5").steps] == ["plane"]


def test_a_step_is_taken_back_where_the_original_has_channels_of_several_sizes(qpibench, tmp_path):
    rows = np.random.default_rng(0).random((2, 8, 10))
    np.savez(tmp_path / "two.npz", didv=rows[0], topo=rows[1, :6], size_nm=5.0, first_row="bottom")
    chosen = ("--channel", "didv", "-o", tmp_path / "maps.h5")
    assert qpibench("prepare", tmp_path / "two.npz", "--step", "plane", *chosen).exit_code == 0
    undo = qpibench("prepare", tmp_path / "maps.h5", "--undo", tmp_path / "two.npz", "--overwrite", *chosen)
    assert undo.exit_code == 0, undo.stderr
    np.testing.assert_array_equal(read(tmp_path / "maps.h5").channel("didv").values, rows[0])


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((), ["Give a --step", "plane"]),
        (("--step", "plain"), ["did you mean 'plane'"]),
        (("--step", "plane order"), ["'order' is no setting"]),
        (("--step", "plane order=7"), ["order"]),
        (("--step", " "), ["needs the name"]),
        (("--step", "mask rectangles_nm=[[-9, 9, -9, 9]]"), ["'mask' leaves no measured point of 'Current (forward)'"]),
        (("--step", "plane channels=['Z']"), ["no channel 'Z'"]),
    ],
)
def test_a_step_that_cannot_be_made_is_one_sentence_and_writes_nothing(qpibench, scan, steps, words):
    qpibench("prepare", scan / "scan.sxm", *steps, "-o", scan / "done.h5").fails(2, *words)
    assert {path.name for path in scan.iterdir()} == {"scan.sxm"}


def test_a_file_that_is_none_of_a_microscope_is_refused(qpibench, tmp_path):
    (tmp_path / "scan.sxm").write_bytes(b"hello")
    qpibench("maps", tmp_path / "scan.sxm").fails(3, "scan.sxm")
    qpibench("maps", tmp_path / "none.sxm").fails(2, "There is no file")
    (tmp_path / "scan.xyz").write_bytes(b"hello")
    qpibench("maps", tmp_path / "scan.xyz").fails(2, ".sxm")


def test_a_measurement_is_never_written_over_by_its_prepared_maps(qpibench, scan):
    content = (scan / "scan.sxm").read_bytes()
    step = ("prepare", scan / "scan.sxm", "--step", "plane", "--overwrite", "-o")
    (scan / "link.h5").symlink_to(scan / "scan.sxm")
    qpibench(*step, scan / "scan.sxm").fails(2, "scan.sxm", "does not end in .h5")
    qpibench(*step, scan / "link.h5").fails(2, "would be written over")
    assert qpibench(*step, scan / "done.h5").exit_code == 0
    undo = ("prepare", scan / "done.h5", "--undo", scan / "scan.sxm", "--overwrite", "-o", scan / "link.h5")
    qpibench(*undo).fails(2, "would be written over")
    assert (scan / "scan.sxm").read_bytes() == content


def test_a_channel_that_is_not_there_is_said_without_a_picture_too(qpibench, scan):
    qpibench("maps", scan / "scan.sxm", "--channel", "Z").fails(2, "no channel 'Z'", "Current (forward)")


def test_maps_of_our_own_are_known_under_any_name(qpibench, scan):
    assert qpibench("maps", scan / "scan.sxm", "--save", scan / "saved").exit_code == 0
    assert "Nanonis scan" in qpibench("maps", scan / "saved").stdout
    qpibench("maps", scan).fails(2, "is no file")


@pytest.mark.parametrize("name", ["maps.csv", "maps.npz", "maps.png"])
def test_maps_are_not_written_under_the_suffix_of_another_format(qpibench, scan, name):
    qpibench("maps", scan / "scan.sxm", "--save", scan / name).fails(2, name, "HDF5", ".h5 or .hdf5 or .nc")
    qpibench("prepare", scan / "scan.sxm", "--step", "plane", "-o", scan / name).fails(2, name, ".h5")
    assert {path.name for path in scan.iterdir()} == {"scan.sxm"}


def test_the_user_tells_what_a_format_does_not(qpibench, tmp_path):
    stack = np.random.default_rng(0).normal(size=(3, 6, 8))
    np.save(tmp_path / "stack.npy", stack)
    told = ("--size", "7", "--first-row", "top", "--energies")
    outcome = qpibench("maps", tmp_path / "stack.npy", *told, "-20,40", "--save", tmp_path / "stack.h5")
    assert outcome.exit_code == 0, outcome.stderr
    maps = read(tmp_path / "stack.h5")
    assert maps.axis.energy_mev == pytest.approx([-20, 10, 40])
    np.testing.assert_array_equal(maps.channels[0].values, stack[:, ::-1])
    qpibench("maps", tmp_path / "stack.npy", *told, "1,2,x").fails(2, "'1,2,x' is no list of numbers")
    qpibench("maps", tmp_path / "stack.npy", *told, "1,2,3,4").fails(2, "has 3 layers")
