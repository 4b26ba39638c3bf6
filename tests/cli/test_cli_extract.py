"""``qpibench extract``: from a Nanonis grid and a list of scatterers to the kernels at every bias."""

import re

import numpy as np
import pytest

from qpibench.extraction.kernel_file import read_kernel_file
from qpibench.extraction.positions import write_positions
from qpibench.families import get_family
from qpibench.grid import Grid
from qpibench.maps import Channel, Maps, Source
from qpibench.maps.file import write_maps
from qpibench.physics.superposition import kernel_image, superpose

GRID = Grid(ny=24, nx=32, size_y_nm=11.5, size_x_nm=15.5)
POSITIONS = np.random.default_rng(0).uniform([-7, -5], [7, 5], (9, 2))
BIASES = (0.02, -0.01, -0.04)
PER_PIXEL_NM = 0.5


def wave(bias):
    k = np.sqrt(0.4 * (1e3 * bias + 65) / 38.1)
    return {"energy": 1e3 * bias, "k": k, "damping": 0.05, "delta": 1.2, "alpha": 0.5, "tip_fwhm": 0.5} | {
        "mass_ratio": 1.0,
        "axis": 0.0,
        "share_2": 0.0,
        "k_2": 1.0,
        "damping_2": 0.0,
        "delta_2": 0.0,
        "unit": 0.04,
    }


@pytest.fixture
def measured(nanonis, tmp_path):
    """The files grid.3ds and scatterers.csv, in the folder that is returned."""
    write_positions(tmp_path / "scatterers.csv", POSITIONS)
    return write_grid(tmp_path, nanonis, BIASES)


def write_grid(folder, nanonis, biases, grid=GRID):
    family = get_family("surface_state")
    maps = np.array([superpose(grid, family, POSITIONS, **wave(bias)) for bias in biases])
    maps = (5e-12 + 1e-12 * (maps + np.random.default_rng(1).normal(0, 0.05, maps.shape))).astype(np.float32)
    content = nanonis.grid_bytes(
        {"LI Demod 1 X (A)": maps, "Current (A)": maps},
        size_m=(grid.nx * PER_PIXEL_NM * 1e-9, grid.ny * PER_PIXEL_NM * 1e-9),
        sweep=(biases[0], biases[-1]),
    )
    (folder / "grid.3ds").write_bytes(content)
    return folder


def asked(folder, *more):
    return ("extract", folder / "grid.3ds", "--positions", folder / "scatterers.csv", "-o", folder / "kernel.h5", *more)


def test_the_kernel_of_every_bias_is_that_of_the_waves(qpibench, measured):
    outcome = qpibench(*asked(measured, "--channel", "li demod 1 x", "--workers", 1, "--json"))
    assert outcome.exit_code == 0
    assert outcome.json["layers"] == 3
    found = read_kernel_file(measured / "kernel.h5")
    assert found.unit == "A"
    assert found.axis.energy_mev == pytest.approx([20, -10, -40])
    family = get_family("surface_state")
    outside = np.hypot(GRID.x_nm, GRID.y_nm[:, None]) > 0.6
    for kernel, bias in zip(found.kernels.kernel, BIASES, strict=True):
        truth = 1e-12 * kernel_image(GRID, family, **wave(bias))[outside]
        # The offset of the measurement leaves that of the kernel open to some tenths of its waves.
        assert np.linalg.norm(kernel[outside] - truth) < 0.2 * np.linalg.norm(truth)
    assert not (measured / "kernel.h5.parts").exists()


def test_one_energy_and_pixels_by_column_and_row(qpibench, measured):
    pixels = POSITIONS / PER_PIXEL_NM + [15.5, 11.5]
    lines = [f"{column},{row}" for column, row in pixels.tolist()]
    (measured / "scatterers.csv").write_text("\n".join(["column,row", *lines]))
    more = ("--channel", "Current", "--energy", -9, "--method", "wiener", "--kernel-px", 12, "--workers", 1)
    assert "of Current at -10 meV by wiener" in qpibench(*asked(measured, *more)).stdout
    found = read_kernel_file(measured / "kernel.h5")
    assert found.axis.energy_mev == pytest.approx([-10])
    assert found.kernels.kernel.shape == (1, 12, 12)
    assert found.kernels.position_nm == pytest.approx(POSITIONS)


def test_a_stack_has_a_report_and_a_band_with_intervals(qpibench, measured, nanonis):
    grid = Grid(ny=36, nx=36, size_y_nm=17.5, size_x_nm=17.5)
    write_grid(measured, nanonis, np.linspace(0.18, 0.06, 4), grid)
    more = ("--channel", "Current", "--method", "wiener", "--workers", 1)
    found = qpibench(*asked(measured, *more, "--report", measured / "kernel.html", "--json")).json
    band = found["band"]
    assert band["mass"] == pytest.approx(0.4, rel=0.1)  # wiener states no standard deviations
    assert band["mass_interval"][0] < band["mass"] < band["mass_interval"][1]
    assert (band["energies"], found["report"]) == (4, str(measured / "kernel.html"))
    assert (measured / "kernel.html").exists()
    shown = qpibench(*asked(measured, *more, "--overwrite")).stdout
    assert f"E0 = {band['e0_mev']:.2f}"[:7] in shown
    assert "m* = 0." in shown
    assert "95 % interval" in shown


def test_figures_and_numbers_of_a_report_are_files_too_and_earlier_ones_go(qpibench, measured):
    (measured / "figures").mkdir()
    for name in ("band.csv", "band.svg", "layer_002_map.png", "scatterers.csv", "notes.csv"):
        (measured / "figures" / name).write_text("earlier")
    figures = ("--report", measured / "kernel.html", "--figures", measured / "figures")
    more = ("--channel", "Current", "--energy", -9, "--method", "wiener", "--workers", 1)
    assert qpibench(*asked(measured, *more, *figures, "--overwrite")).exit_code == 0
    names = {path.name for path in (measured / "figures").iterdir()}
    assert {"layers.csv", "layer_000_kernel.svg", "layer_000_map_fft.png", "notes.csv"} <= names
    assert not {"band.csv", "band.svg", "layer_002_map.png", "scatterers.csv"} & names


def test_a_report_and_its_figures_are_made_from_kernels_and_replaced_on_request_only(qpibench, measured):
    one = ("--channel", "Current", "--energy", -9, "--method", "wiener", "--workers", 1)
    qpibench(*asked(measured, *one))
    again = ("report", measured / "kernel.h5", "-o", measured / "kernel.html", "--figures", measured / "figures")
    outcome = qpibench(*again)
    assert (outcome.exit_code, f"Report: {measured / 'kernel.html'}" in outcome.stdout) == (0, True)
    (measured / "kernel.html").unlink()
    (measured / "figures" / "layers.csv").write_text("mine")
    qpibench(*again).fails(2, "exists already", "--overwrite")
    extracted = (*asked(measured, *one), "--report", measured / "k.html", "--figures", measured / "figures")
    qpibench(*extracted[:5], measured / "k.h5", *extracted[6:]).fails(2, "exists already", "--overwrite")
    assert not (measured / "kernel.html").exists()
    assert (measured / "figures" / "layers.csv").read_text() == "mine"
    assert qpibench(*again, "--overwrite").exit_code == 0
    assert (measured / "figures" / "layers.csv").read_text() != "mine"


def test_a_report_shows_the_layers_that_are_chosen(qpibench, measured):
    assert qpibench(*asked(measured, "--channel", "Current", "--method", "wiener", "--workers", 1)).exit_code == 0
    again = ("report", measured / "kernel.h5", "-o", measured / "kernel.html", "--figures", measured / "figures")
    assert qpibench(*again, "--energy", 21, "--energy", -41).exit_code == 0
    maps = {path.name for path in (measured / "figures").glob("layer_*_map.svg")}
    assert maps == {"layer_000_map.svg", "layer_002_map.svg"}
    text = (measured / "kernel.html").read_text()
    assert re.findall(r"<h2>Layer (\d+),", text) == ["0", "2"]
    for energy in (400, 36, -56):
        refused = qpibench(*again, "--energy", energy, "--overwrite")
        refused.fails(2, f"The file of kernels has no layer at {energy} meV", "-40 to 20 meV")


def test_a_report_of_what_are_no_kernels_is_refused(qpibench, measured):
    qpibench("report", measured / "grid.3ds", "-o", measured / "kernel.html").fails(3, "grid.3ds", "is no HDF5 file")
    qpibench("maps", measured / "grid.3ds", "--save", measured / "maps.h5")
    report = qpibench("report", measured / "maps.h5", "-o", measured / "kernel.html")
    report.fails(3, "not a file of kernels", "its format is 'qpibench maps'")
    qpibench("report", measured / "none.h5", "-o", measured / "kernel.html").fails(2, "no file")
    qpibench("report", measured / "grid.3ds", "-o", measured / "grid.3ds").fails(2, "grid.3ds")


def test_a_stack_of_few_energies_says_why_it_has_no_band(qpibench, measured):
    more = ("--channel", "Current", "--method", "wiener", "--workers", 1, "--json")
    found = qpibench(*asked(measured, *more)).json
    assert found["band"] is None
    assert "4 or more energies" in found["no_band"]


@pytest.mark.parametrize(
    "more",
    [
        ("--figures", "figures"),
        ("--report", "grid.3ds"),
        ("--report", "kernel.h5"),
        ("--report", "kernel.html", "--figures", "kernel.html"),
        ("--report", "kernel.html", "--figures", "grid.3ds"),
        ("--report", "kernel.html", "--figures", "kernel.h5"),
        ("--report", "none/kernel.html"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(qpibench, measured, more):
    more = [each if each.startswith("--") else measured / each for each in more]
    qpibench(*asked(measured, "--channel", "Current", *more)).fails(2, "")
    assert {path.name for path in measured.iterdir()} == {"grid.3ds", "scatterers.csv"}


@pytest.mark.parametrize(
    ("positions", "more", "exit_code", "words"),
    [
        (None, (), 2, ["channels 'LI Demod 1 X', 'Current'", "name the one"]),
        (None, ("--channel", "Z"), 2, ["no channel 'Z'", "'Current'"]),
        (None, ("--channel", "Current", "--energy", 500), 2, ["no layer at 500 meV", "-40 to 20 meV"]),
        (None, ("--channel", "Current", "--method", "none"), 2, ["none"]),
        ("x_nm,y_nm\n", ("--channel", "Current"), 3, ["no scatterer"]),
        ("x_nm,y_nm\n1e-9,2e-9\n3e-9,1e-9\n", ("--channel", "Current"), 3, ["metres", "x_m and y_m"]),
        ("x_nm,y_nm\n20,16\n3,2\n", ("--channel", "Current"), 3, ["outside", "--origin pixel"]),
        ("x_nm,y_nm\n8.5,1\n-3,2\n", ("--channel", "Current"), 3, ["1 of 2 scatterers", "--beyond-edge"]),
        ("x_nm,y_nm\n1,2\n3,1\n", ("--channel", "Current", "--kernel-px", 99), 2, ["--kernel-px"]),
        ("x_nm,y_nm\n1,2\n3,1\n", (), 2, ["--channel"]),
    ],
)
def test_what_cannot_be_extracted_is_one_sentence_and_writes_nothing(
    qpibench, measured, positions, more, exit_code, words
):
    if positions is not None:
        (measured / "scatterers.csv").write_text(positions)
    qpibench(*asked(measured, "--workers", 1, *more)).fails(exit_code, *words)
    assert {path.name for path in measured.iterdir()} == {"grid.3ds", "scatterers.csv"}


def test_methods_are_compared_by_pixels_that_were_held_out(qpibench, measured):
    methods = ("--method", "polar", "--method", "multi_atom")
    asked = ("hold-out", measured / "grid.3ds", "--positions", measured / "scatterers.csv", "--channel", "Current")
    outcome = qpibench(*asked, "--energy", -9, *methods)
    assert outcome.exit_code == 0
    assert "highest wavevectors" in outcome.stdout
    assert outcome.stdout.index("polar") < outcome.stdout.index("multi_atom")
    scores = qpibench(*asked, *methods, "--noise", 5e-14, "--json").json["scores"]
    assert 1 < scores["polar"]["score"] < 0.5 * scores["multi_atom"]["score"]


def test_a_method_that_fails_keeps_the_scores_of_the_others(qpibench, measured):
    (measured / "my_entry.py").write_text("def predict(batch):\n    raise ValueError('no idea')\n")
    asked = ("hold-out", measured / "grid.3ds", "--positions", measured / "scatterers.csv", "--channel", "Current")
    mine = ("--method", measured / "my_entry.py")
    outcome = qpibench(*asked, *mine, "--method", "wiener", "--json")
    assert (outcome.exit_code, list(outcome.json["scores"])) == (0, ["wiener"])
    assert "my_entry.py has no score: Entry 'my_entry' cannot extract the kernel: no idea." in outcome.stderr
    qpibench(*asked, *mine).fails(3, "no idea")


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("def predict(batch:\n", 3, ["'my_entry' cannot be used", "my_entry.py:1", "SyntaxError"]),
        ("import numpy\n1 / 0\n", 3, ["my_entry.py:2", "ZeroDivisionError"]),
        ("import no_such_package\n", 4, ["'my_entry'", "'no_such_package'"]),
    ],
)
def test_an_entry_that_cannot_be_imported_is_one_sentence(qpibench, measured, text, code, words):
    (measured / "my_entry.py").write_text(text)
    method = ("--channel", "Current", "--workers", 1, "--method", measured / "my_entry.py")
    qpibench(*asked(measured, *method)).fails(code, *words)
    assert not (measured / "kernel.h5").exists()


def test_an_entry_gets_the_pixels_that_it_was_trained_on_and_that_is_said(qpibench, measured):
    (measured / "net.py").write_text("takes_pixels = (16, 16)\ndef predict(batch):\n    return batch.image\n")
    more = ("--channel", "Current", "--workers", 1, "--method", measured / "net.py")
    said = "resampled from 24 x 32 to the 16 x 16 pixels that net was trained on"
    outcome = qpibench(*asked(measured, *more))
    assert (outcome.exit_code, outcome.stderr.count(said)) == (0, 1)
    assert read_kernel_file(measured / "kernel.h5").kernels.kernel.shape == (3, 24, 32)
    scored = qpibench("hold-out", *asked(measured, *more)[1:4], "--channel", "Current", *more[-2:])
    assert "Warning: The image was resampled from 19 x 32" in scored.stderr


def test_an_entry_that_fails_at_every_layer_leaves_nothing_behind(qpibench, measured):
    (measured / "my_entry.py").write_text("def predict(batch):\n    raise ValueError('no idea')\n")
    more = ("--channel", "Current", "--workers", 1, "--method", measured / "my_entry.py")
    qpibench(*asked(measured, *more)).fails(3, "'my_entry'", "no idea")
    assert not list(measured.glob("kernel.h5*"))


@pytest.mark.parametrize(("predict", "code"), [("return batch.image", 0), ("raise ValueError('no idea')", 3)])
def test_only_its_own_layers_are_removed_from_the_folder_of_layers(qpibench, measured, predict, code):
    (measured / "my_entry.py").write_text(f"def predict(batch):\n    {predict}\n")
    (measured / "kernel.h5.parts").mkdir()
    for name in ("notes.txt", "layer_00001.npz.bak", "layer_00002.npz"):
        (measured / "kernel.h5.parts" / name).write_text("mine")
    more = ("--channel", "Current", "--workers", 1, "--method", measured / "my_entry.py")
    assert qpibench(*asked(measured, *more)).exit_code == code
    assert {path.name for path in (measured / "kernel.h5.parts").iterdir()} == {"notes.txt", "layer_00001.npz.bak"}


def test_a_middle_layer_that_shows_nothing_is_not_held_out(qpibench, measured):
    maps = np.random.default_rng(0).normal(size=(3, 24, 32))
    maps[1] = np.nan
    np.savez(measured / "map.npz", dIdV=maps, energy_mev=[1.0, 2.0, 3.0], size_nm=15.5, first_row="bottom")
    asked = ("hold-out", measured / "map.npz", "--positions", measured / "scatterers.csv", "--channel", "dIdV")
    qpibench(*asked).fails(3, "layer in the middle", "--energy")


@pytest.mark.parametrize("value", [1.0, np.nan])
@pytest.mark.parametrize("command", ["extract", "hold-out"])
def test_a_map_that_shows_nothing_is_invalid_data(qpibench, measured, command, value):
    maps = np.full((2, 24, 32), value)
    np.savez(measured / "map.npz", dIdV=maps, size_nm=15.5)
    output = ("-o", measured / "kernel.h5", "--workers", 1) if command == "extract" else ()
    asked = (command, measured / "map.npz", "--positions", measured / "scatterers.csv", "--channel", "dIdV", *output)
    qpibench(*asked).fails(3, "'dIdV'")
    assert not list(measured.glob("kernel.h5*"))


def test_a_report_that_exists_is_kept(qpibench, measured):
    (measured / "kernel.html").write_text("mine")
    qpibench(*asked(measured, "--channel", "Current", "--report", measured / "kernel.html")).fails(2, "--overwrite")
    assert (measured / "kernel.html").read_text() == "mine"


def test_a_list_that_has_scatterers_twice_is_doubted(qpibench, measured):
    lines = (measured / "scatterers.csv").read_text().splitlines()
    (measured / "scatterers.csv").write_text("\n".join([*lines, lines[1], lines[2]]))
    outcome = qpibench(*asked(measured, "--channel", "Current", "--energy", -9, "--method", "wiener", "--workers", 1))
    assert outcome.exit_code == 0
    assert "4 of 11 scatterers lie on another one" in outcome.stderr


def test_one_scatterer_is_taken_on_request_only(qpibench, measured):
    (measured / "scatterers.csv").write_text("x_nm,y_nm\n1,2\n")
    more = ("--channel", "Current", "--energy", -9, "--method", "wiener", "--workers", 1)
    qpibench(*asked(measured, *more)).fails(3, "scatterers.csv' has one scatterer", "--one-scatterer")
    assert not list(measured.glob("kernel.h5*"))
    (measured / "scatterers.csv").write_text("x_nm,y_nm\n1,2\n1,2\n")
    qpibench(*asked(measured, *more)).fails(3, "scatterers.csv' has one scatterer", "--one-scatterer")
    (measured / "scatterers.csv").write_text("x_nm,y_nm\n1,2\n3,4\n")
    qpibench(*asked(measured, *more, "--one-scatterer")).fails(2, "has 2 scatterers", "leave out --one-scatterer")
    (measured / "scatterers.csv").write_text("x_nm,y_nm\n1,2\n")
    outcome = qpibench(*asked(measured, *more, "--one-scatterer"))
    assert "1 of 1 kernel of Current" in outcome.stdout
    assert "with 1 scatterer:" in outcome.stdout


def test_scatterers_that_do_not_belong_to_the_map_are_doubted(qpibench, measured):
    write_positions(measured / "scatterers.csv", [[0.0, 0.0]])
    outcome = qpibench(*asked(measured, "--channel", "Current", "--energy", 20, "--one-scatterer", "--json"))
    assert outcome.exit_code == 0
    assert any("of the map in 1 of 1 layer" in each for each in outcome.json["warnings"])
    again = qpibench("report", measured / "kernel.h5", "-o", measured / "kernel.html", "--json")
    assert outcome.json["warnings"][-1] in again.json["warnings"]


def test_a_map_whose_scans_are_the_same_shows_no_noise_and_a_noise_must_be_positive(qpibench, measured):
    values = np.random.default_rng(0).normal(size=(24, 32))
    channels = tuple(Channel(name="Z", unit="m", values=values, direction=each) for each in ("forward", "backward"))
    grid, source = Grid(ny=24, nx=32, size_y_nm=6.0, size_x_nm=8.0), Source(file="a", format="b", sha256="c")
    write_maps(Maps(grid=grid, channels=channels, source=source), measured / "same.h5")
    asked = ("hold-out", measured / "same.h5", "--channel", "Z (forward)", "--positions", measured / "scatterers.csv")
    qpibench(*asked, "--method", "wiener").fails(3, "Z (forward) shows no noise (forward minus backward", "--noise")
    qpibench(*asked, "--method", "wiener", "--noise", 0).fails(2, "noise")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_an_entry_prints_is_apart_from_the_answer_and_its_exit_is_a_failure(qpibench, measured, workers):
    entry = measured / "entry.py"
    entry.write_text("import sys\ndef predict(batch):\n    print('hello')\n    return batch.image\n")
    more = ("--channel", "Current", "--method", entry, "--workers", workers)
    assert qpibench(*asked(measured, *more), "--json").json["layers"] == 3
    entry.write_text("import sys\ndef predict(batch):\n    sys.exit(0)\n")
    qpibench(*asked(measured, *more), "--overwrite").fails(1, "Entry 'entry' failed", "sys.exit(0) was called")
