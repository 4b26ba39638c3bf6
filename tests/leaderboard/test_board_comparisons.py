"""Paired comparisons beside the results stand on the board, in a section of their own."""

import json
from pathlib import Path

import pytest

from qpibench.errors import InvalidDataError
from qpibench.evaluation.result_file import save_result
from qpibench.leaderboard.build import build_leaderboard

STUDY = Path(__file__).parents[2] / "docs" / "board" / "comparisons" / "two_step-tikhonov-ood.json"


@pytest.fixture
def results(tmp_path, make_result):
    """A folder with a result, and a comparison in which B is better."""
    folder = tmp_path / "results"
    (folder / "comparisons").mkdir(parents=True)
    save_result(make_result(), folder / "mine.json")
    (folder / "comparisons" / "first one.json").write_text(STUDY.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def edited(results, change):
    path = results / "comparisons" / "first one.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_comparison_has_a_row_that_links_to_its_file_and_no_standing(results, tmp_path):
    tables = build_leaderboard(results, tmp_path / "site")
    assert [len(members) for members in tables.values()] == [1]
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    row = page.partition("Compared image by image")[2].partition("<tbody>")[2].partition("</tr>")[0]
    assert '<a href="results/comparisons/first%20one.json">two_step (code, compact, seed 0)</a>' in row
    assert "<td>tikhonov</td>" in row
    assert "0.443 [0.368, 0.526]" in row
    copied = tmp_path / "site" / "results" / "comparisons" / "first one.json"
    assert copied.read_bytes() == (results / "comparisons" / "first one.json").read_bytes()
    (pair,) = json.loads((tmp_path / "site" / "leaderboard.json").read_text(encoding="utf-8"))["comparisons"]
    assert (pair["place"], pair["better"], pair["n_images"]) == ("paper/ood", "tikhonov", 500)


def test_the_table_of_a_cell_leads_to_its_comparisons():
    page = (STUDY.parents[1] / "index.html").read_text(encoding="utf-8")
    table = page.partition(">window20/20dB ")[2].partition("</table>")[0]
    place = table.partition('<a href="#')[2].partition('"')[0]
    assert f'<h3 id="{place}">window20/20dB ' in page
    assert page.count("compared image by image</a>") == page.count(">window20/20dB ") - 1


def test_a_board_without_comparisons_has_no_section_for_them(results, tmp_path):
    (results / "comparisons" / "first one.json").unlink()
    build_leaderboard(results, tmp_path / "site")
    assert "Compared image by image" not in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def test_a_rebuilt_site_drops_a_comparison_that_is_gone(results, tmp_path):
    build_leaderboard(results, tmp_path / "site")
    (results / "comparisons" / "first one.json").unlink()
    build_leaderboard(results, tmp_path / "site")
    assert list((tmp_path / "site" / "results" / "comparisons").iterdir()) == []


def test_the_warnings_of_the_command_are_no_part_of_a_comparison(results, tmp_path):
    edited(results, lambda content: content.update(warnings=["The files were made with different views."]))
    build_leaderboard(results, tmp_path / "site")


def _difference(value, low, high):
    def change(content):
        content["tasks"]["ood"]["metrics"]["rel_l2_capped"]["difference"] = {"value": value, "low": low, "high": high}

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_difference(-0.4, -0.5, -0.3), "means of rel_l2_capped differ by 0.442665, its difference is -0.4"),
        (_difference(0.4426647730944272, 0.5, 0.6), "low <= value <= high is expected, found 0.5"),
        (lambda content: content.pop("tasks"), "is not a comparison that 'qpibench compare --json' prints"),
    ],
)
def test_a_comparison_that_cannot_be_true_is_named_and_no_page_is_made(results, tmp_path, change, sentence):
    edited(results, change)
    with pytest.raises(InvalidDataError) as error:
        build_leaderboard(results, tmp_path / "site")
    assert sentence in str(error.value)
    assert "first one.json" in str(error.value)
    assert not (tmp_path / "site").exists()
