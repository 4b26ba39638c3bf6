"""Stacks go through a microscope's file to a band, with several methods, and an interrupted run goes on."""

from __future__ import annotations

import numpy as np
import pytest
import toy_study  # noqa: F401  # puts benchmarks/ on the path

from benchmarks import microscope
from benchmarks.drawn_stacks import StackSpec, draw_stack
from benchmarks.microscope_figures import Goals, read_figures, summarised
from qpibench.readers.maps import read_maps

SMALL = ["--stacks", "1", "--energies", "5", "--pixels", "48", "--workers", "1"]


@pytest.fixture
def output(tmp_path):
    """The file of figures."""
    return tmp_path / "figures.json"


def test_methods_get_the_same_stacks_and_one_without_waves_has_no_band(output, capsys):
    assert microscope.main([*SMALL, "--method", "wiener", "zeros", "-o", str(output)]) == 0
    (good,), (none,) = (each.stacks for each in read_figures(output).methods.values())
    assert (good.e0_mev, good.mass, good.field_nm) == (none.e0_mev, none.mass, none.field_nm)
    assert abs(good.mass_error) < 0.05
    assert good.relative_l2_file == pytest.approx(good.relative_l2_direct, rel=1e-2)
    assert "4 or more energies" in none.failure
    assert summarised([good, none], Goals()).bands == 1
    assert "zeros   1       0" in capsys.readouterr().out


def test_a_method_in_a_file_that_finds_no_kernel_has_the_reason_in_its_stack(output, tmp_path):
    (tmp_path / "nothing.py").write_text("def predict(batch):\n    return {}\n", encoding="utf-8")
    assert microscope.main([*SMALL, "--method", str(tmp_path / "nothing.py"), "-o", str(output)]) == 0
    (found,) = read_figures(output).methods["nothing"].stacks
    assert "gave no kernel" in found.failure
    assert summarised([found], Goals()).relative_l2 is None


def test_a_run_goes_on_with_the_stacks_that_its_file_lacks(output, monkeypatch):
    assert microscope.main([*SMALL, "--method", "wiener", "-o", str(output)]) == 0
    drawn = []
    monkeypatch.setattr(microscope, "draw_stack", lambda spec, number: drawn.append(number) or draw_stack(spec, number))
    assert microscope.main([*SMALL, "--method", "wiener", "--stacks", "2", "-o", str(output)]) == 0
    assert drawn == [1]
    assert [row.stack for row in read_figures(output).methods["wiener"].stacks] == [0, 1]


def test_stacks_of_other_code_are_measured_again_and_it_is_said(output, monkeypatch, capsys):
    for code in ("first", "second"):
        monkeypatch.setattr(microscope, "library_sha256", lambda code=code: code)
        assert microscope.main([*SMALL, "--method", "wiener", "-o", str(output)]) == 0
    assert read_figures(output).methods["wiener"].library_sha256 == "second"
    assert capsys.readouterr().err == "wiener: 1 stack of other code or another machine will be measured again.\n"


def test_what_an_interrupted_run_has_measured_is_kept(output, monkeypatch, capsys):
    def interrupted(spec, number):
        if number == 1:
            raise KeyboardInterrupt
        return draw_stack(spec, number)

    monkeypatch.setattr(microscope, "draw_stack", interrupted)
    assert microscope.main([*SMALL, "--method", "wiener", "--stacks", "2", "-o", str(output)]) == 130
    assert len(read_figures(output).methods["wiener"].stacks) == 1
    assert capsys.readouterr().err == f"Interrupted; the stacks above are kept in {output}.\n"


def test_a_file_with_other_stacks_is_refused_and_stays(output, capsys):
    assert microscope.main([*SMALL, "--method", "wiener", "-o", str(output)]) == 0
    before = output.read_bytes()
    assert microscope.main(["--method", "wiener", "-o", str(output)]) == 2
    assert "other stacks (energies 5, not 40, pixels 48, not 96)" in capsys.readouterr().err
    assert output.read_bytes() == before


@pytest.mark.parametrize("content", ["{}x", '{"version": 2}', "[]"])
def test_a_file_that_is_none_of_this_benchmark_is_refused_and_stays(output, content, capsys):
    output.write_text(content, encoding="utf-8")
    assert microscope.main([*SMALL, "--method", "wiener", "-o", str(output)]) == 3
    assert str(output) in capsys.readouterr().err
    assert output.read_text(encoding="utf-8") == content


def test_two_methods_of_one_name_are_refused(capsys):
    assert microscope.main([*SMALL, "--method", "wiener", "wiener"]) == 2
    assert "one name" in capsys.readouterr().err


def test_the_file_of_a_stack_has_its_values_to_single_precision(tmp_path):
    stack = draw_stack(StackSpec(energies=2, pixels=8, scatterers=1), 0)
    (tmp_path / "grid.3ds").write_bytes(stack.file)
    maps = read_maps(tmp_path / "grid.3ds")
    np.testing.assert_allclose(maps.channels[0].values, stack.values, rtol=1e-6)
    assert maps.grid.size_x_nm == pytest.approx(stack.grid.size_x_nm, rel=1e-6)
