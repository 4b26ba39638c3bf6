"""The example of docs/microscope.md: from the grid that stands for a measurement to its band."""

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "docs" / "example_grid.py"


def test_the_band_of_the_example_is_the_one_it_was_made_with(qpibench, tmp_path):
    spec = importlib.util.spec_from_file_location("example_grid", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    grid, scatterers = tmp_path / "grid.3ds", tmp_path / "scatterers.csv"
    grid.write_bytes(example.grid_file())
    assert qpibench("scatterers", grid, "--channel", "Z [point]", "-o", scatterers).exit_code == 0
    assert len(scatterers.read_text().splitlines()) == 1 + example.SCATTERERS
    found = qpibench("extract", grid, "--positions", scatterers, "-o", tmp_path / "kernel.h5", "--json").json
    assert found["band"]["e0_mev"] == pytest.approx(example.E0_MEV, abs=0.5)
    assert found["band"]["mass"] == pytest.approx(example.MASS, rel=0.005)
    asked = ("hold-out", grid, "--positions", scatterers, "--energy", 100, "--method", "polar", "--json")
    assert qpibench(*asked).json["scores"]["polar"]["score"] == pytest.approx(1, abs=0.05)
