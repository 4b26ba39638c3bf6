"""Every command works with a cell that asks for the central pixels of the kernels."""

import json

import pytest

TOY = """
summary = "8 x 8 pixels of the kernels"

[every_cell]
specs = ["mini"]
task = "ood"
view = "positions"
map = "exact"
metrics = ["rel_l2_capped", "mae"]
primary = "mae"
size = 4
kernel_px = 8

[cells.central]
"""


@pytest.fixture(scope="module")
def folder(qpibench, mini, tmp_path_factory):
    """Results, predictions and reports of three entries; not to be changed."""
    folder = tmp_path_factory.mktemp("patch")
    (folder / "toy.toml").write_text(TOY)
    (folder / "results").mkdir()
    for entry in ("zeros", "median_kernel", "tikhonov"):
        outcome = qpibench(
            *("evaluate", entry, "--track", folder / "toy.toml", "--release", mini),
            *("-o", folder / "results" / f"{entry}.json", "--predictions", folder / f"{entry}.h5"),
        )
        assert (outcome.exit_code, outcome.stderr.count("Warning")) == (0, 0), outcome.stderr
    return folder


def test_entries_are_scored_by_the_central_pixels(folder):
    results = {path.stem: json.loads(path.read_text()) for path in (folder / "results").iterdir()}
    mae = {name: each["cells"]["central"]["metrics"]["mae"]["value"] for name, each in results.items()}
    assert 0 < mae["tikhonov"] < mae["zeros"]
    assert mae["median_kernel"] > 0


def test_a_model_is_checked_with_patches_of_the_kernels(qpibench, write_model):
    model = write_model("import numpy as np\ndef predict(batch): return np.zeros(batch.image.shape)\n")
    shapes = "predict returned a kernel of shape (1, 64, 64), expected (1, 8, 8)"
    qpibench("check", model, "--kernel-px", 8).fails(1, shapes)
    qpibench("check", model, "--kernel-px", 9).fails(2, "kernel_px = 9 does not fit", "from 2 to 63 that is even")


@pytest.mark.slow
def test_predictions_of_patches_give_their_result_again_and_are_compared_and_shown(qpibench, mini, folder, tmp_path):
    kept, release = folder / "tikhonov.h5", ("--release", mini)
    checked = qpibench("leaderboard", "check", folder / "results/tikhonov.json", "--predictions", kept, *release)
    assert checked.stdout.endswith("what its predictions give.\n")
    compared = qpibench("compare", kept, "--against", folder / "zeros.h5", *release)
    assert (compared.exit_code, compared.stdout.startswith("Track toy/central")) == (0, True)
    report = qpibench("score", kept, *release, "-o", tmp_path / "r.json", "--report", tmp_path / "r.html")
    assert report.exit_code == 0, report.stderr
    assert "central 8 by 8 pixels" in (tmp_path / "r.html").read_text()
    assert qpibench("leaderboard", "build", folder / "results", "-o", tmp_path / "site").exit_code == 0
