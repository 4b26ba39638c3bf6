"""Pages of docs/ that are partly made from the code are what the code gives."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.campaigns.full_disks import CALLS
from qpibench.corruptions import corruption_names, get_corruption
from qpibench.evaluation.entries import shipped_entries
from qpibench.evaluation.result import Interval
from qpibench.families import eq7, family_names, get_family
from qpibench.grid import central_pixels
from qpibench.maps.preparation import get_step, step_names
from qpibench.physics.superposition import kernel_image
from qpibench.specs import load_spec
from qpibench.tasks.track import load_track

DOCS = Path(__file__).parents[1] / "docs"


def _script(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_spec_is_what_its_models_say():
    page = (DOCS / "spec.md").read_text(encoding="utf-8")
    assert _script("spec_page").page() == page, "run `python docs/spec_page.py`"
    assert "| `kernels.count` | integer |  | required | at least 1, below 2^31 | number of kernels |" in page


def test_the_example_on_the_page_of_the_spec_is_a_spec(tmp_path):
    page = (DOCS / "spec.md").read_text(encoding="utf-8")
    lines = [line[4:] for line in page.splitlines() if line.startswith("    ")]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    assert load_spec(tmp_path / "mine.toml").scatterers.max == 20


def test_the_page_on_choosing_has_every_entry():
    page = (DOCS / "choosing.md").read_text(encoding="utf-8")
    assert not [name for name in shipped_entries() if f"`{name}`" not in page]


@pytest.mark.skipif(not (DOCS.parent / "baselines" / "polar.py").exists(), reason="needs the entry polar")
def test_the_example_of_an_extraction_gives_the_kernel(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    page = (DOCS / "extraction.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    wanted = {"fold": 4, "phi1": 0.3, "B": 2.5, "phi2": 0.0, "C": 0.15}
    truth = 1e-12 * central_pixels(kernel_image(names["grid"].offsets, eq7, **wanted), (41, 41))
    assert np.linalg.norm(names["kernel"] - truth) < 0.2 * np.linalg.norm(truth)


def test_the_table_of_columns_is_what_families_and_corruptions_declare():
    columns = _script("columns")
    page = (DOCS / "format.md").read_text()
    assert columns.with_table(page) == page, "run `python docs/columns.py`"
    assert "| `phi1` | kernel | <f8 | rad |" in page


@pytest.mark.parametrize("name", ["families", "corruptions", "preparation"])
def test_the_pages_of_families_corruptions_and_steps_are_what_the_modules_say(name):
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert getattr(_script("registry_pages"), f"{name}_page")() == page, "run `python docs/registry_pages.py`"


MODULES = [get_family(name) for name in family_names()] + [get_corruption(name) for name in corruption_names()]
STEPS = [get_step(name) for name in step_names()]


@pytest.mark.parametrize("module", [*MODULES, *STEPS], ids=lambda module: module.__name__.removeprefix("qpibench."))
def test_a_family_corruption_or_step_states_its_equation_and_source(module):
    text = _script("registry_pages").markdown(module.__doc__)
    assert "```math\n" in text
    assert "Source" in text
    assert not any(mark in text for mark in ("``.", ":mod:", ":math:", ".. math::", "$$"))


def test_every_family_and_corruption_has_a_small_picture():
    pictures = _script("registry_pages").pictures()
    assert len(pictures) >= len(MODULES)
    for path, command in pictures.items():
        assert command.endswith(f"-o docs/{path}")
        assert 10_000 < (DOCS / path).stat().st_size < 150_000, f"{path}: run `{command}`"


def test_the_pages_of_tracks_are_what_their_files_say():
    for name, text in _script("track_pages").pages().items():
        page = (DOCS / "tracks" / name).read_text(encoding="utf-8")
        assert page == text, f"{name}: run `python docs/track_pages.py`"


def test_the_tables_of_results_are_those_of_the_board():
    script, readme = _script("result_page"), (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert (DOCS / "results.md").read_text(encoding="utf-8") == script.page(), "run `python docs/result_page.py`"
    assert script.readme(readme) == readme, "run `python docs/result_page.py`"


def test_the_page_on_denoising_is_what_the_comparisons_on_the_board_say():
    script = _script("denoising_page")
    assert (DOCS / "denoising.md").read_text(encoding="utf-8") == script.page(), "run `python docs/denoising_page.py`"
    assert script.draw() == script.draw()
    assert 10_000 < (DOCS / script.PICTURE).stat().st_size < 60_000


def test_the_page_of_the_track_microscope_and_the_guide_are_what_its_figures_say():
    script, guide = _script("microscope_page"), (DOCS / "microscope.md").read_text(encoding="utf-8")
    page = (DOCS / "tracks" / "microscope.md").read_text(encoding="utf-8")
    assert page == script.page(), "run `PYTHONPATH=. python docs/microscope_page.py`"
    assert guide == script.guide(guide), "run `PYTHONPATH=. python docs/microscope_page.py`"
    assert script.draw() == script.draw()
    assert 10_000 < (DOCS / "tracks" / script.PICTURE).stat().st_size < 60_000


def test_the_figures_of_the_track_microscope_are_of_the_stacks_that_its_benchmark_draws():
    from benchmarks.drawn_stacks import StackSpec, draw_stack

    figures, drawn = _script("microscope_page").figures(), draw_stack(StackSpec(energies=2, pixels=8), 3)
    rows = [row for each in figures.methods.values() for row in each.stacks if row.stack == drawn.number]
    assert figures.spec == StackSpec()
    assert {(row.e0_mev, row.mass) for row in rows} == {(drawn.e0_mev, drawn.mass)}


def test_the_scores_of_each_family_stand_under_the_table_of_a_track_of_several():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    robust, materials = (page.partition(f"\n## {name}\n")[2].partition("\n## ")[0] for name in ("robust", "materials"))
    assert "`eq7` / `surface_state` / `tight_binding`" in robust
    assert "| `zeros` | 1.00 / 1.00 | 1.00 / 1.00 | 1.00 / 1.00 |" in materials


@pytest.mark.slow
def test_a_result_of_another_suite_or_of_an_older_track_is_not_in_the_tables(monkeypatch):
    script = _script("result_page")
    results = script._results()
    older = SimpleNamespace(record=SimpleNamespace(track_sha256="0" * 64))
    assert script._cell({"exact/clean": older}, script.load_suite("v1").cells[4]) is None
    assert {result.suite.name for result in results} == {"v1"}
    assert all(result.suite.limit is None for result in results)


def test_an_unfinished_result_is_marked_and_a_table_without_entries_says_so():
    script = _script("result_page")
    finished = script._results()[0]
    unfinished = SimpleNamespace(model=finished.model, status="unfinished")
    assert script._name(unfinished) == f"{script._name(finished)}†"
    assert "A dagger marks entries that have not been run on all cells" in script._marks([unfinished])
    assert script._table_of(list(script.load_suite("v1").cells[:1]), []) == "No entry takes `id` yet.\n"


def test_every_cell_of_a_track_has_a_small_picture():
    script = _script("track_pictures")
    sizes = [(script.FOLDER / file).stat().st_size for file in script.pictures()]
    assert min(sizes) > 2_000, "run `python docs/track_pictures.py`"
    assert max(sizes) < 50_000
    assert sum(sizes) < 1_500_000


def test_a_picture_of_a_cell_is_the_same_when_it_is_drawn_again():
    script, track = _script("track_pictures"), load_track("exact")
    drawn = script.draw(track, "clean")
    assert drawn[:4] == b"\x89PNG"
    assert drawn == script.draw(track, "clean")


def test_the_score_of_a_trivial_entry_is_on_the_page_of_the_track_as_it_was_scored(tmp_path, monkeypatch):
    script, track = _script("track_pages"), load_track("exact")
    (tmp_path / "zeros.json").touch()
    record = SimpleNamespace(cell="clean", track_sha256=track.sha256)
    cell = SimpleNamespace(record=record, primary="mae", metrics={"mae": Interval(value=0.5, low=0.4, high=0.6)})
    result = SimpleNamespace(
        model=SimpleNamespace(name="zeros"), suite=SimpleNamespace(limit=None), cells={"exact/clean": cell}
    )
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "load_result", lambda _: result)
    result.not_applicable = {}
    assert "| `clean` | 0.500 [0.400, 0.600] |  |  |" in script.track_page(track)
    record.track_sha256 = "another"
    assert "Not measured yet" in script.track_page(track)


def test_a_label_of_another_track_is_no_score_of_this_one(tmp_path, monkeypatch):
    script = _script("track_pages")
    (tmp_path / "zeros.json").touch()
    result = SimpleNamespace(model=SimpleNamespace(name="zeros"), suite=SimpleNamespace(limit=None), cells={})
    result.not_applicable = {"species/labelled": "no"}
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "load_result", lambda _: result)
    assert "Not measured yet" in script.track_page(load_track("materials64"))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("instrument", "| `corruptions.corrugation.lattice_constant_nm` | `0.4` | nm | distance of neighbouring"),
        ("species", '| `species.second` | `"rotated"` |  | kernel of the second species'),
        ("species", "| `species.min_contrast` |  | `0.3` |  | least contrast"),
        ("materials", "| `grid.size_x_nm` | nm | `44` | `19` | `16.8` | `16.8` | `16.8` | `10` |"),
        ("robust", "1/15 of the median period of the interference wave |"),
        ("robust", "Weak: elastic scatterers with a phase shift of 0.2 rad"),
        ("blind", "| `scatterers.max` |  | `23` or `76` or `228` |"),
    ],
)
def test_the_page_of_a_track_has_units_ranges_of_each_spec_and_remarks_on_cells(name, line):
    assert line in _script("track_pages").track_page(load_track(name))


def test_a_picture_of_two_species_shows_both_kernels_and_hidden_species_as_one():
    script, track = _script("track_pictures"), load_track("species")
    told, hidden = (list(script._panels(cell, cell.specs[0])) for cell in map(track.cell, ("labelled", "hidden")))
    assert len(told) == len(hidden) == 3
    assert set(told[0][0].true.of_species()) == {0, 1}
    assert hidden[0][0].true.species is None


def test_a_withdrawn_cell_is_struck_through_with_the_reason():
    script, track = _script("track_pages"), load_track("noise")
    script.WITHDRAWN["noise/5dB"] = "the noise is that of 6 dB (1 January 2027)."
    page = script.track_page(track)
    assert "| ~~`5dB`~~ |" in page
    assert "noise/5dB is withdrawn: the noise is that of 6 dB (1 January 2027)." in page


def test_the_page_on_reliability_names_the_calls_that_are_refused():
    page = (DOCS / "reliability.md").read_text(encoding="utf-8")
    calls = page.partition("call of Python's module `os`: ")[2].partition(", with the error")[0]
    assert tuple(calls.replace(" or ", ", ").replace("`", "").split(", ")) == CALLS
