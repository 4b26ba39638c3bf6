"""`python -m benchmarks.extraction` measures any entry, and says what it cannot measure."""

import json
import os
import time

import numpy as np
import pytest

from benchmarks.extraction import cpu_clock, errors, main, stated_coverage
from benchmarks.fresh_draws import CELLS, draw, spec_of
from qpibench.specs import load_spec
from qpibench.specs.load import spec_names

ZEROS = """
import numpy as np
from qpibench import Prediction
needs = "{needs}"
def predict(batch):
    kernel = np.zeros((len(batch), *batch.kernel_grid.shape))
    return Prediction(kernel=kernel, std=np.ones(kernel.shape))
"""


def entry(folder, *, needs="image"):
    path = folder / "entry.py"
    path.write_text(ZEROS.format(needs=needs), encoding="utf-8")
    return str(path)


def test_the_truth_scores_0_on_every_error(noisy):
    figures = errors(noisy.truth.astype(np.float64), noisy)
    assert figures["failed"] == 0
    assert [figures[name]["value"] for name in ("mae", "mae_published", "rel_l2_capped", "over_bound")] == [0] * 4


def test_a_prediction_of_nan_counts_as_zeros_at_least(noisy):
    kernel = noisy.truth.astype(np.float64)
    kernel[0, 0, 0] = np.nan
    figures = errors(kernel, noisy)
    assert figures["failed"] == 1
    assert figures["mae"]["value"] == pytest.approx(noisy.truth[0].mean() / len(noisy))


def test_zeros_that_state_a_deviation_of_1_are_measured_on_every_cell(tmp_path, capsys):
    assert (
        main([entry(tmp_path), "--images", "2", "--cells", "noise", "mixed", "--json", str(tmp_path / "f.json")]) == 0
    )
    cells = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["cells"]
    assert [cells[name]["rel_l2_capped"]["value"] for name in cells] == [1, 1]
    assert cells["noise"]["over_bound"]["value"] > 10
    assert cells["noise"]["coverage"]["95"]["value"] == 100
    assert all(cells[name]["cpu_ms"]["mean"] > 0 for name in cells)
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]) == 4


def test_a_cell_that_shows_too_little_is_not_measured(tmp_path, capsys):
    assert main([entry(tmp_path, needs="positions"), "--images", "2", "--cells", "raster"]) == 0
    assert "not measured: It needs the view 'positions'." in capsys.readouterr().out


def test_the_error_of_an_entry_stands_in_place_of_its_figures(tmp_path, capsys):
    (tmp_path / "broken.py").write_text("def predict(batch):\n    raise ValueError('no')\n", encoding="utf-8")
    assert main([str(tmp_path / "broken.py"), "--images", "2", "--cells", "positions"]) == 0
    assert "not measured: It failed: broken.py:2: ValueError: no." in capsys.readouterr().out


def test_an_entry_that_learns_from_a_release_is_refused(capsys):
    assert main(["median_kernel", "--images", "2", "--cells", "positions"]) == 2
    assert "use evaluate" in capsys.readouterr().err


def test_a_missing_entry_and_a_missing_folder_are_usage_errors(tmp_path, capsys):
    assert main(["no_such_entry", "--images", "2"]) == 2
    assert main(["zeros", "--images", "2", "--json", str(tmp_path / "none" / "f.json")]) == 2
    assert capsys.readouterr().err.count("Error: ") == 2


def test_the_draws_have_a_seed_of_their_own():
    drawn = {spec_of(cell, 2).seed for cell in CELLS.values()}
    assert len(drawn) == 1
    assert not drawn & {load_spec(name).seed for name in spec_names()}


def test_noise_is_added_to_the_clean_images_of_the_same_draws(noisy):
    clean = draw(CELLS["positions"], len(noisy))
    noise = noisy.batch(3).image - clean.batch(3).image
    assert np.array_equal(noisy.truth, clean.truth)
    assert 10 * np.log10(clean.batch(3).image.var() / noise.var()) == pytest.approx(10, abs=0.3)


def test_a_calibrated_deviation_covers_its_levels(noisy):
    rng = np.random.default_rng(0)
    truth = noisy.truth.astype(np.float64)
    std = rng.uniform(1, 2, truth.shape)
    figures = stated_coverage(truth + std * rng.standard_normal(truth.shape), std, noisy)
    assert figures["68"]["value"] == pytest.approx(68, abs=1.5)
    assert figures["95"]["value"] == pytest.approx(95, abs=1)


def test_the_clock_of_a_process_counts_its_processor_time():
    clock = cpu_clock(os.getpid())
    before, first = time.process_time(), clock()
    second, after = clock(), time.process_time()
    assert 0 <= second - first <= after - before
