"""The site is a function of the result files, complete in itself, and every number on it can be followed."""

import base64
import json
import os
import re
import zlib
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from matplotlib.image import imread

from qpibench.cli.table import standings_table
from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.median_image import MedianImage
from qpibench.evaluation.result import CellRecord, Floor, Interval, TrainingRecord
from qpibench.evaluation.result_file import load_result, save_result
from qpibench.leaderboard.build import build_leaderboard
from qpibench.leaderboard.literature import REPORTED
from qpibench.leaderboard.page import LinearScale
from qpibench.leaderboard.standings import standings


@pytest.fixture
def results_dir(tmp_path, make_result):
    folder = tmp_path / "collected"
    folder.mkdir()
    save_result(make_result(name="<script>alert(1)</script> & co", knows=("eq. 7",)), folder / "first one.json")
    save_result(make_result(name="broken", capped=(0.9, 0.8, 1.0), n_failed=7, stopped=True), folder / "broken.json")
    save_result(make_result(name="gaps", capped=(0.0104, 0.0, 0.02), n_failed=2), folder / "gaps.json")
    save_result(make_result(name="whole", n_images=10_000, tasks=("id", "ood")), folder / "whole.json")
    return folder


def files_of(site):
    return {str(path.relative_to(site)): path.read_bytes() for path in sorted(site.rglob("*")) if path.is_file()}


class Page(HTMLParser):
    """Links, cells with a value and their link, and the text of a page."""

    def __init__(self, html):
        super().__init__()
        self.links, self.loads, self.cells, self.texts, self._value = [], [], [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "a":
            self.links.append(attributes["href"])
            if self._value is not None:
                self.cells.append((self._value, attributes["href"]))
        elif "href" in attributes or "src" in attributes or tag in ("link", "iframe", "img", "object"):
            self.loads.append((tag, attributes))
        if tag == "td":
            self._value = attributes.get("data-value") if "number" in attributes.get("class", "") else None

    def handle_endtag(self, tag):
        if tag == "td":
            self._value = None

    def handle_data(self, text):
        self.texts.append(text)


def numbers(content):
    if isinstance(content, dict):
        return {number for value in content.values() for number in numbers(value)}
    if isinstance(content, list):
        return {number for value in content for number in numbers(value)}
    return {float(content)} if isinstance(content, (int, float)) else set()


def test_the_site_has_a_page_the_standings_and_a_copy_of_every_result_file(results_dir, tmp_path):
    build_leaderboard(results_dir, tmp_path / "site")
    files = files_of(tmp_path / "site")
    copies = {f"results/{path.name}": path.read_bytes() for path in results_dir.iterdir()}
    assert files.keys() == {"index.html", "leaderboard.json", *copies}
    assert copies.items() <= files.items()


def test_the_same_results_give_the_same_bytes_whatever_their_order_and_age(results_dir, tmp_path):
    build_leaderboard(results_dir, tmp_path / "site")
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for age, path in enumerate(sorted(results_dir.iterdir(), reverse=True)):
        (shuffled / path.name).write_bytes(path.read_bytes())
        os.utime(shuffled / path.name, (1e9 - 1e6 * age, 1e9 - 1e6 * age))
    build_leaderboard(shuffled, tmp_path / "again")
    assert files_of(tmp_path / "site") == files_of(tmp_path / "again")
    build_leaderboard(results_dir, tmp_path / "site")
    assert files_of(tmp_path / "site") == files_of(tmp_path / "again")


def test_every_number_links_to_the_result_file_that_holds_it(results_dir, tmp_path):
    site = tmp_path / "site"
    build_leaderboard(results_dir, site)
    cells = Page((site / "index.html").read_text()).cells
    assert len(cells) == 5 * 9 - 1  # five standings on two tasks, nine numbers each; one stopped and has no time
    for value, link in cells:
        result = json.loads((site / unquote(link)).read_text())
        parts = [part for cell in result["cells"].values() for part in cell["parts"]]
        per_image = {part["predict_seconds"] / part["n_images"] for part in parts}
        assert float(value) in numbers(result) | per_image


def test_every_link_of_the_site_leads_to_a_file_and_nothing_is_loaded_from_elsewhere(results_dir, tmp_path):
    site = tmp_path / "site"
    build_leaderboard(results_dir, site)
    html = (site / "index.html").read_text()
    page = Page(html)
    assert page.loads == []
    assert "url(" not in html
    assert "@import" not in html
    outside = [link for link in page.links if not (site / unquote(link)).is_file()]
    assert outside == ["https://arxiv.org/abs/2506.05325v1"]


def test_a_training_that_ended_early_and_weights_without_a_record_of_training_are_said(
    results_dir, tmp_path, make_result
):
    training = {
        "recipe": "article",
        "preset": None,
        "options": {},
        "seed": 0,
        "source": {"kind": "stream", "name": "paper", "spec_sha256": "d" * 64, "content_sha256": None},
        "steps_done": 8,
        "steps_stated": 1000,
        "fraction": 1.0,
        "hours": 0.5,
        "hardware": "a processor",
        "git_commit": None,
    }
    for name, record in (("run (seed 0)", TrainingRecord.model_validate(training)), ("weights", None)):
        result = make_result(name=name)
        model = result.model.model_copy(update={"training": record, "weights": {"w": "e" * 64}})
        save_result(result.model_copy(update={"model": model}), results_dir / f"{name}.json")
    build_leaderboard(results_dir, tmp_path / "site")
    text = " ".join("".join(Page((tmp_path / "site" / "index.html").read_text()).texts).split())
    assert "8 of 1,000 steps, ended early by validation" in text
    assert text.count("weights without a record of their training") == 1


def test_a_floor_stands_under_the_scores_of_the_entries_that_have_one(make_result, tmp_path):
    without, plain = make_result(name="without"), make_result(name="with")
    values = {"rel_l2_capped": 0.0777, "mae": 0.00666, "failure_rate": 0.0}
    metrics = {name: Interval(value=value, low=value, high=value) for name, value in values.items()}
    of = plain.cells["ood"]
    added = {name: of.metrics[name].value - value for name, value in values.items()}
    floor = Floor(metrics=metrics, added={name: Interval(value=v, low=v, high=v) for name, v in added.items()})
    cell = of.model_copy(update={"floor": floor, "parts": (of.parts[0].model_copy(update={"floor": floor}),)})
    (tmp_path / "results").mkdir()
    save_result(plain.model_copy(update={"cells": {"ood": cell}}), tmp_path / "results" / "with.json")
    save_result(without, tmp_path / "results" / "without.json")
    (members,) = build_leaderboard(tmp_path / "results", tmp_path / "site").values()
    page = (tmp_path / "site" / "index.html").read_text()
    assert re.findall('class="floor" title="[^"]*">(.*?)<', page) == ["floor 0.0777", "floor 0.00666"]
    assert page.count('<line class="floor"') == 1
    assert "Floor, also the grey mark: the score of the true kernels as the entry" in page
    rows = json.loads((tmp_path / "site" / "leaderboard.json").read_text())["tables"][0]["standings"]
    assert {row["entry"]: row["floor"] for row in rows} == {"with": floor.model_dump(), "without": None}
    (table,) = standings({"with.json": load_result(tmp_path / "results" / "with.json")})
    assert "its floor" in standings_table(table, members)


def test_a_page_without_floors_does_not_explain_them_at_its_tables(results_dir, tmp_path):
    build_leaderboard(results_dir, tmp_path / "site")
    page = (tmp_path / "site" / "index.html").read_text()
    assert "the grey mark" not in page
    assert 'class="floor"' not in page


def test_names_of_entries_are_text_and_never_markup(results_dir, tmp_path):
    build_leaderboard(results_dir, tmp_path / "site")
    html = (tmp_path / "site" / "index.html").read_text()
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in html


def test_subsets_and_failures_are_marked(results_dir, tmp_path):
    build_leaderboard(results_dir, tmp_path / "site")
    text = " ".join("".join(Page((tmp_path / "site" / "index.html").read_text()).texts).split())
    assert "subset: 200 of 10,000 images" in text
    assert "failed: 7 of 200" in text
    assert "missing: 2 of 200" in text
    assert "knows eq. 7" in text


def test_the_standings_for_programs_agree_with_the_result_files(results_dir, tmp_path):
    site = tmp_path / "site"
    build_leaderboard(results_dir, site)
    board = json.loads((site / "leaderboard.json").read_text())
    assert [len(table["standings"]) for table in board["tables"]] == [1, 1, 3]
    for table in board["tables"]:
        for row in table["standings"]:
            result = json.loads((site / row["result_file"]).read_text())
            assert row["metrics"] == result["cells"][table["task"]]["metrics"]
            assert row["entry"] == result["model"]["name"]
    assert board["tables"][-1]["standings"][0]["entry"] == "gaps"


def ranked_by(result, primary, *, without=()):
    """The result on the cell of a track that is ranked by another metric, with fewer scores."""
    record = CellRecord(track="own", track_sha256="0" * 64, cell="ood", primary=primary, size=None)
    cell = result.cells["ood"]
    metrics = {name: score for name, score in cell.metrics.items() if name not in without}
    parts = tuple(
        part.model_copy(
            update={
                "metrics": metrics,
                "breakdowns": {
                    name: tuple(group.model_copy(update={"metrics": {primary: metrics[primary]}}) for group in groups)
                    for name, groups in part.breakdowns.items()
                },
            }
        )
        for part in cell.parts
    )
    update = {"record": record, "primary": primary, "metrics": metrics, "parts": parts}
    return result.model_copy(update={"cells": {"ood": cell.model_copy(update=update)}})


def test_a_cell_that_is_ranked_by_another_metric_has_its_own_axis_and_a_dash_where_a_score_is_missing(
    make_result, tmp_path
):
    (tmp_path / "results").mkdir()
    save_result(ranked_by(make_result(name="a"), "psnr"), tmp_path / "results" / "a.json")
    save_result(ranked_by(make_result(name="b"), "psnr", without=["ssim"]), tmp_path / "results" / "b.json")
    ((table, members),) = build_leaderboard(tmp_path / "results", tmp_path / "site").items()
    assert table.primary == "psnr"
    html = (tmp_path / "site" / "index.html").read_text()
    assert re.search(r'class="number">PSNR \(dB\)</th>\s*<td class="scale">', html)
    assert html.count('<td class="number" data-value="">–</td>') == 1
    places = [float(place) for place in re.findall(r'class="range" x1="([\d.]+)"', html)]
    assert len(places) == len(members) == 2
    assert all(0 <= place < 100 for place in places)


def test_the_table_in_words_has_a_score_that_the_cell_holds_beside_the_ranking_one(make_result):
    for without, beside in (((), "mae"), (("mae", "failure_rate"), "mae_published")):
        ((table, members),) = standings({"a.json": ranked_by(make_result(), "psnr", without=without)}).items()
        head = standings_table(table, members).splitlines()[1]
        assert head.split() == ["rank", "entry", "psnr", beside]


def test_a_linear_axis_has_round_ends_that_hold_every_interval():
    scores = [Interval(value=21.3, low=18.2, high=24.9), Interval(value=33, low=31, high=34.5)]
    scale = LinearScale.around(scores)
    assert [label for _, label in scale.labels] == ["10", "20", "30", "40"]
    assert scale.percent(25) == 50
    assert scale.ticks == (0.0, 33.33, 66.67, 100.0)
    alone = LinearScale.around([Interval(value=-0.3, low=-0.3, high=-0.3)])
    assert alone.low <= -0.3 <= alone.high
    assert LinearScale.around([Interval(value=0, low=0, high=0)]).labels == ((0.0, "0"), (100.0, "1"))


def test_the_numbers_of_the_literature_stand_in_a_table_of_their_own(results_dir, tmp_path):
    build_leaderboard(results_dir, tmp_path / "site")
    html = (tmp_path / "site" / "index.html").read_text()
    ours, theirs = html.split('id="literature"')
    assert "other data" in theirs
    assert theirs.count('<span class="mark">reported</span>') == len(REPORTED) + 1
    for row in REPORTED:
        assert f">{row.mae:.4f}<" in theirs
    assert "two-step" not in ours


def test_an_invalid_result_file_is_named_and_nothing_is_written(results_dir, tmp_path):
    (results_dir / "mistake.json").write_text("{}")
    with pytest.raises(InvalidDataError, match=re.escape("mistake.json")):
        build_leaderboard(results_dir, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def edit_capped(content, value):
    """The ranking score as somebody would change it by hand: in the cell and in its part."""
    cell = content["cells"]["ood"]
    for metrics in (cell["metrics"], cell["parts"][0]["metrics"]):
        metrics["rel_l2_capped"] = {"value": value, "low": value, "high": value}


def edit_interval(content):
    content["cells"]["ood"]["metrics"]["mae"]["low"] = 0.5


def edit_count(content):
    content["cells"]["ood"]["parts"][0]["breakdowns"]["stratum"][0]["n_images"] = 150


def remove_breakdowns(content):
    content["cells"]["ood"]["parts"][0]["breakdowns"] = {}
    edit_capped(content, 0.01)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: edit_capped(content, 0.01), "have a mean rel_l2_capped of 0.2, not 0.01"),
        (lambda content: edit_capped(content, -1.0), "rel_l2_capped is -1.0, less than 0"),
        (edit_interval, "low <= value <= high is expected"),
        (edit_count, "the groups by stratum have 150 images, not 200"),
        (remove_breakdowns, "the groups by stratum are missing"),
    ],
)
def test_a_result_that_was_edited_by_hand_is_named_and_no_page_is_made(results_dir, tmp_path, edit, message):
    content = json.loads((results_dir / "first one.json").read_text())
    edit(content)
    (results_dir / "first one.json").write_text(json.dumps(content))
    with pytest.raises(InvalidDataError, match=re.escape(message)) as error:
        build_leaderboard(results_dir, tmp_path / "site")
    assert "first one.json" in str(error.value)
    assert error.value.exit_code == 3
    assert not (tmp_path / "site").exists()


def test_a_folder_without_results_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no result file"):
        build_leaderboard(tmp_path / "empty", tmp_path / "site")
    with pytest.raises(UsageError, match="There is no folder"):
        build_leaderboard(tmp_path / "missing", tmp_path / "site")


def test_a_rebuilt_site_drops_results_that_are_gone_and_keeps_foreign_files(results_dir, tmp_path):
    site = tmp_path / "site"
    build_leaderboard(results_dir, site)
    (site / "CNAME").write_text("board.example.org")
    (results_dir / "gaps.json").unlink()
    build_leaderboard(results_dir, site)
    assert not (site / "results" / "gaps.json").exists()
    assert (site / "results" / "whole.json").exists()
    assert (site / "CNAME").read_text() == "board.example.org"
    assert "gaps" not in (site / "index.html").read_text()


def with_picture(result):
    """The result with a median image of a bright corner, an even truth and a dark prediction."""
    pictures = np.zeros((3, 8, 6), np.uint8)
    pictures[0, -1, 0], pictures[1] = 255, 128
    pixels = base64.b64encode(zlib.compress(pictures.tobytes())).decode()
    median = MedianImage(observation=7, error=0.1, ny=8, nx=6, pixels=pixels)
    cell = result.cells["ood"]
    parts = tuple(part.model_copy(update={"median_image": median}) for part in cell.parts)
    return result.model_copy(update={"cells": {"ood": cell.model_copy(update={"parts": parts})}})


def test_an_entry_has_its_median_image_as_a_picture_with_y_up(results_dir, tmp_path, make_result):
    save_result(with_picture(make_result(name="seen")), results_dir / "seen one.json")
    site = tmp_path / "site"
    build_leaderboard(results_dir, site)
    html = (site / "index.html").read_text()
    assert 'src="pictures/seen%20one-0.png"' in html
    assert "observation, true kernel and predicted kernel of image 7" in html
    assert html.count("Pictures: observation, true kernel and prediction of the image with the median error.") == 1
    picture = imread(site / "pictures" / "seen one-0.png")
    assert picture.shape == (8, 3 * 6 + 2 * 4, 4)
    assert picture[0, 0, :3].sum() > 2 > picture[-1, 0, :3].sum()
    assert picture[0, 6, 3] == 0
    board = json.loads((site / "leaderboard.json").read_text())
    rows = {row["entry"]: row["picture"] for table in board["tables"] for row in table["standings"]}
    assert (rows["seen"], rows["gaps"]) == ("pictures/seen one-0.png", None)
    (results_dir / "seen one.json").unlink()
    build_leaderboard(results_dir, site)
    assert list((site / "pictures").iterdir()) == []


def test_a_page_of_someone_else_is_not_overwritten(results_dir, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("my homepage")
    with pytest.raises(UsageError, match="not a leaderboard"):
        build_leaderboard(results_dir, site)
    assert files_of(site) == {"index.html": b"my homepage"}


def test_a_result_of_someone_else_is_not_overwritten(results_dir, tmp_path):
    site = tmp_path / "site"
    (site / "results").mkdir(parents=True)
    (site / "results" / "gaps.json").write_text("my own")
    with pytest.raises(UsageError, match=r"gaps\.json' is not a file of this leaderboard"):
        build_leaderboard(results_dir, site)
    assert files_of(site) == {"results/gaps.json": b"my own"}


def test_results_can_be_read_from_the_site_they_are_copied_to_but_not_mixed_with_its_page(results_dir, tmp_path):
    site = tmp_path / "site"
    build_leaderboard(results_dir, site)
    before = files_of(site)
    build_leaderboard(site / "results", site)
    assert files_of(site) == before
    with pytest.raises(UsageError, match="folder of its results"):
        build_leaderboard(results_dir, results_dir)


def test_a_site_that_cannot_be_written_is_explained(results_dir, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file' is not a folder"):
        build_leaderboard(results_dir, tmp_path / "file" / "site")
