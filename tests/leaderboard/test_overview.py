"""The first table of the board: entries by tracks, the figures beside it, and open entries apart."""

import json
import re

import pytest

from qpibench.evaluation.joining import join
from qpibench.evaluation.result import CellRecord, Interval, SuiteRecord
from qpibench.evaluation.result_file import save_result
from qpibench.leaderboard.build import build_leaderboard
from qpibench.leaderboard.overview import overview
from qpibench.leaderboard.standings import standings


@pytest.fixture
def suite_result(make_result):
    """Make a result of a suite from the scores of its cells, TRACK/CELL, or of each family of a cell's kernels."""

    def make(name, scores, *, family="eq7", knows=(), not_applicable=None, version="d", finished=True):
        results = []
        of_families = {label: of if isinstance(of, dict) else {family: of} for label, of in scores.items()}
        for label, family, value in ((label, *of) for label, each in of_families.items() for of in each.items()):
            track, cell = label.split("/")
            digest = f"{abs(hash((label, family))):x}".ljust(64, "0")[:64]
            result = make_result(
                name=name, capped=(value, 0.9 * value, 1.1 * value), content_sha256=digest, knows=knows
            )
            record = CellRecord(track=track, track_sha256=version * 64, cell=cell, primary="rel_l2_capped", size=200)
            (former,) = result.cells.values()
            parts = tuple(part.model_copy(update={"family": family}) for part in former.parts)
            own = former.model_copy(update={"record": record, "parts": parts})
            results.append(result.model_copy(update={"cells": {cell: own}}))
        suite = SuiteRecord(name="toy", sha256="e" * 64, limit=None)
        return join(results, suite=suite, not_applicable=not_applicable, finished=finished)

    return make


@pytest.fixture
def site(tmp_path):
    """Build the board of results by file name; return its listing and its page."""

    def build(**results):
        (tmp_path / "results").mkdir()
        for name, result in results.items():
            save_result(result, tmp_path / "results" / f"{name}.json")
        build_leaderboard(tmp_path / "results", tmp_path / "site")
        page = (tmp_path / "site" / "index.html").read_text()
        return json.loads((tmp_path / "site" / "leaderboard.json").read_text()), page

    return build


NOISE = {"levels/10dB": 0.2, "levels/5dB": 0.4}


def test_the_overview_has_the_mean_of_a_tracks_cells_or_the_reason_why_not(suite_result, site):
    listing, page = site(
        fine=suite_result("fine", NOISE | {"task/ood": 0.5}),
        blind=suite_result("blind", {"task/ood": 0.6}, not_applicable=dict.fromkeys(NOISE, "It needs no noise.")),
        half=suite_result("half", {"levels/10dB": 0.1}),
    )
    overview = listing["overview"]
    assert [(each["track"], each["cells"]) for each in overview["tracks"]] == [
        ("levels", ["5dB", "10dB"]),  # by number
        ("task", ["ood"]),
    ]
    rows = {row["entry"]: row for row in overview["rows"]}
    assert list(rows) == ["fine", "blind", "half"]
    assert rows["fine"]["scores"] == [pytest.approx(0.3), 0.5]
    assert rows["blind"]["scores"] == [None, 0.6]
    assert rows["blind"]["reasons"][0] == "It needs no noise."
    assert rows["half"]["reasons"] == ["levels/5dB was not evaluated", "task/ood was not evaluated"]
    assert 'title="It needs no noise."' in page
    assert "1 of 2 cells" in page


def test_cells_that_no_entry_takes_have_a_column_of_dashes_with_the_reason(suite_result, site):
    reasons = {"pairs/told": "It takes no pairs.", "pairs/hidden": "It takes no pairs.", "task/id": "None."}
    listing, page = site(fine=suite_result("fine", {"task/ood": 0.5, "a/b": 0.1}, not_applicable=reasons))
    assert [(each["track"], each["view"], each["cells"]) for each in listing["overview"]["tracks"]] == [
        ("a", "positions", ["b"]),
        ("pairs", None, ["told", "hidden"]),
        ("task", "positions", ["ood"]),
        ("task", None, ["id"]),
    ]
    (row,) = listing["overview"]["rows"]
    assert row["scores"] == [0.1, None, 0.5, None]
    assert row["reasons"] == ["", "It takes no pairs.", "", "None."]
    assert 'title="It takes no pairs."' in page


def test_an_entry_whose_evaluation_was_interrupted_is_marked_as_unfinished(suite_result, site):
    part = suite_result("part", {"task/ood": 0.5}, finished=False)
    listing, page = site(fine=suite_result("fine", NOISE | {"task/ood": 0.6}), part=part)
    assert {row["entry"]: row["unfinished"] for row in listing["overview"]["rows"]} == {"fine": False, "part": True}
    assert page.count('<span class="mark unfinished"') == 2 + 1  # the overview, the table, and the legend


def test_two_versions_of_a_track_are_not_merged(suite_result, site):
    new = suite_result("new", dict.fromkeys(NOISE, 0.1), version="a")
    listing, page = site(old=suite_result("old", NOISE), new=new)
    names = ["levels@aaaaaaaa", "levels@dddddddd"]
    assert [each["track"] for each in listing["overview"]["tracks"]] == names
    assert {row["entry"]: row["scores"].count(None) for row in listing["overview"]["rows"]} == {"old": 1, "new": 1}
    assert [f"<h2>Track {name}</h2>" in page for name in names] == [True, True]
    assert {f"severity-{name}.png" for name in names} <= set(listing["picture_files"])


def test_a_reason_is_found_whatever_the_title_of_the_track(suite_result, site):
    reason = {"levels/10dB": "It needs species."}
    listing, _ = site(
        first=suite_result("first", {"levels/5dB": 0.4}, not_applicable=reason),
        other=suite_result("other", NOISE),
        new=suite_result("new", dict.fromkeys(NOISE, 0.1), version="a"),
    )
    tracks = [each["track"] for each in listing["overview"]["tracks"]]
    reasons = {row["entry"]: dict(zip(tracks, row["reasons"], strict=True)) for row in listing["overview"]["rows"]}
    assert reasons["first"]["levels@dddddddd"] == "It needs species."
    assert reasons["other"]["levels@aaaaaaaa"] == "levels/5dB was evaluated, in another table"


def test_a_row_is_of_one_result(suite_result, site):
    results = {
        "old": suite_result("mine", {"levels/10dB": 0.1, "levels/5dB": 0.9}),
        "new": suite_result("mine", {"levels/10dB": 0.9, "levels/5dB": 0.1}),
    }
    listing, page = site(**results)
    rows = listing["overview"]["rows"]
    assert [(row["entry"], row["scores"]) for row in rows] == [("mine", [pytest.approx(0.5)])] * 2
    assert [row["result_file"] for row in rows] == ["results/new.json", "results/old.json"]
    assert [f'class="entry">mine, {name}.json<' in page for name in results] == [True, True]


def test_a_line_of_a_figure_is_not_joined_from_two_results(suite_result, site):
    listing, _ = site(one=suite_result("mine", {"levels/10dB": 0.1}), two=suite_result("mine", {"levels/5dB": 0.9}))
    assert "severity-levels.png" not in listing["picture_files"]


def test_the_score_of_each_family_stands_under_the_mean_of_a_cell(suite_result, site):
    families = {"surface_state": 0.2, "tight_binding": 0.4}
    listing, page = site(mine=suite_result("mine", {"stuff/clean": families, "task/ood": 0.5}))
    stuff, task = (table["standings"][0] for table in listing["tables"])
    assert stuff["metrics"]["rel_l2_capped"]["value"] == pytest.approx(0.3)
    assert {family: score["value"] for family, score in stuff["families"].items()} == families
    assert task["families"] == {}
    assert re.findall(r'class="floor family"[^>]*>([^<]*)<', page) == ["surface_state 0.200", "tight_binding 0.400"]


def test_numbers_that_do_not_depend_on_the_entry_stand_once_above_the_table(suite_result, site):
    results = {name: suite_result(name, {"task/ood": 0.5}) for name in ("one", "other")}
    (cell,) = results["other"].cells.values()
    share = {"q_scored_share": Interval(value=0.9, low=0.8, high=0.95)}
    part = cell.parts[0].model_copy(update={"metrics": cell.parts[0].metrics | share})
    cell = cell.model_copy(update={"metrics": cell.metrics | share, "parts": (part,)})
    results["other"] = results["other"].model_copy(update={"cells": {"task/ood": cell}})
    listing, page = site(**results)
    assert listing["tables"][0]["images"]["q_scored_share"]["value"] == 0.9
    assert page.count("q can be found 0.900 [0.800, 0.950]") == 1


def test_noise_gives_a_curve_and_unseen_kernels_a_gap(suite_result, site, tmp_path):
    listing, page = site(mine=suite_result("mine", NOISE | {"task/id": 0.1, "task/ood": 0.5}))
    for name in ("severity-levels.png", "gap-task-id.png"):
        assert name in listing["picture_files"]
        assert f'src="pictures/{name}"' in page
        assert (tmp_path / "site" / "pictures" / name).read_bytes().startswith(b"\x89PNG")


def test_an_entry_that_knows_the_family_is_not_ranked_with_those_that_never_met_it(suite_result, site):
    cell = {"stuff/clean": 0.3}
    listing, page = site(
        zero_shot=suite_result("zero_shot", cell, family="surface_state", knows=("eq. 7",)),
        knowing=suite_result("knowing", {"stuff/clean": 0.1}, family="surface_state", knows=("surface_state",)),
    )
    assert [(each["is_open"], each["standings"][0]["entry"]) for each in listing["tables"]] == [
        (False, "zero_shot"),
        (True, "knowing"),
    ]
    assert [each["standings"][0]["rank"] for each in listing["tables"]] == [1, 1]
    assert "stuff/clean, open entries" in page
    assert [each["is_open"] for each in listing["overview"]["tracks"]] == [False, True]
    assert {row["entry"]: row["scores"] for row in listing["overview"]["rows"]} == {
        "knowing": [None, 0.1],
        "zero_shot": [0.3, None],
    }
    assert listing["overview"]["rows"][0]["reasons"] == ["stuff/clean was evaluated, in another table", ""]


@pytest.mark.parametrize(
    ("family", "knows", "is_open"),
    [
        ("file", "radial profiles", False),
        ("file", "the file of kernels", True),
        ("surface_state", "Surface states", True),
        ("tight_binding", "tight-binding models", True),
        ("surface_state", "training role of the release ag111_128", True),
        ("surface_state", "stream of the spec cu111_128", True),
        ("tight_binding", "training role of the release materials-clean-square_128", True),
        ("tight_binding", "stream of the spec cu111_128", False),
        ("surface_state", "training role of the release paper", False),
    ],
)
def test_an_entry_knows_a_family_that_it_declares_by_name_or_by_a_shipped_spec(suite_result, family, knows, is_open):
    result = suite_result("mine", {"stuff/clean": 0.3}, family=family, knows=(knows,))
    assert [table.is_open for table in standings({"mine.json": result})] == [is_open]


def test_the_best_entry_is_first_also_where_more_is_better(suite_result):
    results = {}
    for name, value in {"worse": 0.2, "better": 0.4}.items():
        result = suite_result(name, {"task/ood": value})
        (cell,) = result.cells.values()
        ranked = {"primary": "ssim", "metrics": {"ssim": cell.metrics["rel_l2_capped"]}}
        cell = cell.model_copy(update=ranked | {"record": cell.record.model_copy(update={"primary": "ssim"})})
        results[f"{name}.json"] = result.model_copy(update={"cells": {"task/ood": cell}})
    assert [row.entry for row in overview(standings(results)).rows] == ["better", "worse"]
