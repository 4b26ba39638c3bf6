"""A track is one TOML file, and every command accepts it."""

from __future__ import annotations

import json
import math
import re

import pytest

TOY = """
summary = "two cells on two releases"

[every_cell]
specs = ["mini"]
task = "ood"
metrics = ["psnr", "mae"]
primary = "psnr"
size = 2

[cells.raster]
view = "raster"
map = "exact"

[cells.image]
view = "image"
primary = "mae"
specs = ["mini", {spec = "mini", set = ["seed=1"]}]
"""


@pytest.fixture(scope="module")
def folder(qpibench, mini, tmp_path_factory):
    """A toy track, the second of its releases, and what two entries score on it; not to be changed."""
    folder = tmp_path_factory.mktemp("track")
    (folder / "toy.toml").write_text(TOY)
    (folder / "results").mkdir()
    assert qpibench("generate", "mini", "--set", "seed=1", "-o", folder / "other.h5").exit_code == 0
    for entry, report in {"zeros": ["--report", folder / "zeros.html"], "median_kernel": []}.items():
        outcome = qpibench(
            *("evaluate", entry, "--track", folder / "toy.toml"),
            *("--release", mini, "--release", folder / "other.h5", "-o", folder / "results" / f"{entry}.json"),
            *("--predictions", folder / f"{entry}.h5", *report),
        )
        assert outcome.exit_code == 0, outcome.stderr
    return folder


CELLS = {"raster": "raster", "image.mini": "image", "image.mini_seed_1": "image"}
"""Names that reports and predictions have, and the cells they belong to."""


def test_every_cell_is_asked_and_shown_as_the_track_says(folder):
    assert {path.stem for path in (folder / "results").iterdir()} == {"zeros", "median_kernel"}
    result = json.loads((folder / "results" / "zeros.json").read_text())
    assert list(result["cells"]) == ["raster", "image"]
    for name, (shown, primary, releases) in {
        "raster": (("raster", "exact"), "psnr", ["mini"]),
        "image": (("image", None), "mae", ["mini", "mini+seed=1"]),
    }.items():
        cell = result["cells"][name]
        assert (cell["record"]["track"], cell["record"]["cell"]) == ("toy", name)
        assert (cell["primary"], list(cell["metrics"])) == (primary, ["psnr", "mae"])
        assert [part["release"]["name"] for part in cell["parts"]] == releases
        for part in cell["parts"]:
            assert (part["task"], part["n_images"], (part["view"], part["map_mode"])) == ("ood", 2, shown)
    for name, cell in CELLS.items():
        page = (folder / f"zeros-{name}.html").read_text()
        assert f"toy/{cell}" in page
        assert "Subset:" not in page  # the cell has no more images


def test_the_report_that_is_named_has_the_scores_of_all_cells_and_links_to_their_reports(folder):
    page = (folder / "zeros.html").read_text()
    assert re.findall(r'href="([^"]*)"', page) == [f"zeros-{name}.html" for name in CELLS]
    assert all((folder / f"zeros-{name}.html").exists() for name in CELLS)
    assert ("toy/raster" in page, "toy/image" in page) == (True, True)
    assert "<svg" not in page  # neither levels of noise nor unseen kernels


LEVELS = """
summary = "levels of noise, and kernels seen and unseen"

[every_cell]
specs = ["mini"]
task = "ood"
view = "image"
primary = "rel_l2_capped"
metrics = ["rel_l2_capped"]

[cells.20dB]
[cells.5dB]
[cells.id]
task = "id"
[cells.ood]
"""


@pytest.mark.slow
def test_a_report_of_several_cells_has_the_severity_curve_and_the_gap(qpibench, mini, tmp_path):
    (tmp_path / "levels.toml").write_text(LEVELS)
    asked = ("--track", tmp_path / "levels.toml", "--release", mini, "--limit", 1)
    outcome = qpibench(
        "evaluate", "zeros", *asked, "-o", tmp_path / "r.json", "--report", tmp_path / "r.html", "--json"
    )
    page = (tmp_path / "r.html").read_text()
    assert re.findall(r"<figcaption>Track levels: (.*?),", page) == [
        "scores against the signal-to-noise ratio",
        "the gap between the cells id and ood",
    ]
    assert page.count("<svg") == 2
    assert outcome.json["report"] == str(tmp_path / "r.html")


def test_a_report_of_both_tasks_of_a_release_has_the_gap(qpibench, mini, tmp_path):
    asked = ("--release", mini, "--limit", 1, "-o", tmp_path / "r.json")
    assert qpibench("evaluate", "zeros", *asked, "--report", tmp_path / "r.html").exit_code == 0
    assert "<figcaption>mini: the gap between the cells id and ood" in (tmp_path / "r.html").read_text()


def test_the_score_of_a_cell_is_the_mean_of_its_releases(folder):
    cell = json.loads((folder / "results" / "median_kernel.json").read_text())["cells"]["image"]
    for name, score in cell["metrics"].items():
        first, second = (part["metrics"][name] for part in cell["parts"])
        assert first != second
        assert score["value"] == pytest.approx((first["value"] + second["value"]) / 2)
        halves = [part["value"] - part["low"] for part in (first, second)]
        assert score["value"] - score["low"] == pytest.approx(math.hypot(*halves) / 2)


def test_the_board_ranks_every_cell_by_its_own_metric(qpibench, folder, tmp_path):
    built = qpibench("leaderboard", "build", folder / "results", "-o", tmp_path / "site")
    assert built.exit_code == 0, built.stderr
    assert "toy/raster: mini, ood, view raster, exact maps, 2 of 2 images" in built.stdout
    assert "toy/image" in (tmp_path / "site" / "index.html").read_text()
    tables = json.loads((tmp_path / "site" / "leaderboard.json").read_text())["tables"]
    assert [(table["cell"]["cell"], table["primary_metric"]) for table in tables] == [
        ("image", "mae"),
        ("raster", "psnr"),
    ]
    for table in tables:
        values = [row["metrics"][table["primary_metric"]]["value"] for row in table["standings"]]
        assert len(values) == 2
        assert values == sorted(values, reverse=table["primary_metric"] == "psnr")
        assert not table["subset"]  # the cell has no more images


def test_a_result_of_a_track_is_derived_again_in_parts_or_whole(qpibench, mini, folder):
    result, kept = folder / "results" / "zeros.json", [folder / f"zeros-{name}.h5" for name in CELLS]
    check = ("leaderboard", "check", result, "--predictions")
    one = qpibench(*check, kept[0], "--release", mini)
    assert "but it has parts of others, which were not re-derived" in one.stdout
    options = [part for path in kept for part in ("--predictions", path)]
    releases = ("--release", mini, "--release", folder / "other.h5")
    assert qpibench("leaderboard", "check", result, *options, *releases).stdout.endswith("what its predictions give.\n")
    qpibench(*check, kept[2], "--release", mini).fails(
        2, "is of the release mini+seed=1, which is not among those given"
    )


def test_a_cell_that_is_not_the_mean_of_its_releases_is_found_out(qpibench, folder, tmp_path):
    result = json.loads((folder / "results" / "zeros.json").read_text())
    result["cells"]["image"]["metrics"]["mae"] = {"value": 0.01, "low": 0.01, "high": 0.01}
    path = tmp_path / "better.json"
    path.write_text(json.dumps(result))
    qpibench("leaderboard", "check", path).fails(3, "cell image: mae is 0.01, but the parts have the mean 0.")


def test_kept_predictions_of_all_cells_score_as_they_were_evaluated(qpibench, mini, folder, tmp_path):
    kept = [folder / f"zeros-{name}.h5" for name in CELLS]
    releases = ("--release", mini, "--release", folder / "other.h5")
    assert qpibench("score", *kept, *releases, "-o", tmp_path / "again.json").exit_code == 0
    again, evaluated = (
        json.loads(path.read_text()) for path in (tmp_path / "again.json", folder / "results/zeros.json")
    )
    assert again["cells"] == evaluated["cells"]
    report = ("--report", tmp_path / "report.html", "-o", tmp_path / "new.json")
    qpibench("score", *kept, *releases, *report).fails(2, "A report is of one predictions file")
    qpibench("score", kept[0], kept[0], *releases, "-o", tmp_path / "new.json").fails(3, "'raster' occurs twice")
    qpibench("score", kept[2], "--release", mini, "-o", tmp_path / "new.json").fails(3, "another release")
    assert [path.name for path in tmp_path.iterdir()] == ["again.json"]


def test_files_of_a_cell_are_compared(qpibench, mini, folder):
    first, second = folder / "zeros-raster.h5", folder / "median_kernel-raster.h5"
    assert qpibench("compare", first, "--against", second, "--release", mini).stdout.startswith("Track toy/raster")
    other = qpibench("compare", first, "--against", folder / "zeros-image.mini.h5", "--release", mini)
    assert "different cells: toy/image, toy/raster" in other.stderr


def test_one_cell_has_the_file_that_was_named_and_may_be_asked_in_part(qpibench, mini, folder, tmp_path):
    asked = ("--track", f"{folder / 'toy.toml'}/raster", "--release", mini, "--limit", 1)
    answer = qpibench("evaluate", "zeros", *asked, "-o", tmp_path / "zeros.json", "--json").json
    assert (answer["path"], answer["cells"]["raster"]["parts"][0]["n_images"]) == (str(tmp_path / "zeros.json"), 1)
    built = qpibench("leaderboard", "build", tmp_path, "-o", tmp_path / "site")
    assert "1 of 2 images" in built.stdout


def test_a_cell_that_is_complete_is_told_again(qpibench, mini, folder, tmp_path):
    result, report = tmp_path / "zeros.json", tmp_path / "zeros.html"
    command = ("evaluate", "zeros", "--track", folder / "toy.toml/raster", "--release", mini, "-o", result)
    assert qpibench(*command, "--report", report).exit_code == 0
    written = result.read_bytes(), report.read_bytes()
    for more in ((), ("--report", report)):
        assert "psnr" in qpibench(*command, "--resume", *more).stdout
        assert (result.read_bytes(), report.read_bytes()) == written


@pytest.mark.parametrize("cell", ["", "/raster"])
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_the_file_of_a_track_is_not_written_over(qpibench, mini, folder, tmp_path, command, cell):
    track = tmp_path / "own.toml"
    track.write_text(TOY)
    asked = ("--track", f"{track}{cell}", "--release", mini, "--release", folder / "other.h5")
    qpibench(command, "zeros", *(asked if not cell else asked[:4]), "-o", track).fails(2, "own.toml' is given twice")
    assert track.read_text() == TOY


def test_predict_asks_the_cells_too(qpibench, mini, folder, tmp_path):
    asked = ("--track", f"{folder / 'toy.toml'}/raster", "--release", mini)
    record = qpibench("predict", "zeros", *asked, "-o", tmp_path / "zeros.h5", "--json").json
    assert (record["cell"]["track"], record["cell"]["cell"], record["limit"]) == ("toy", "raster", 2)


def test_a_cell_that_shows_less_than_an_entry_needs_is_left_out(qpibench, mini, folder, tmp_path):
    asked = ("--track", folder / "toy.toml", "--release", mini, "--release", folder / "other.h5")
    outcome = qpibench("evaluate", "tikhonov", *asked, "-o", tmp_path / "tikhonov.json")
    assert outcome.exit_code == 0
    sentence = "Entry 'tikhonov' needs the view 'raster', but the cell shows 'image' only."
    assert f"Cell 'toy/image' is left out: {sentence}" in outcome.stderr
    assert list(json.loads((tmp_path / "tikhonov.json").read_text())["cells"]) == ["raster"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--view", "image"], ["A track says what is asked and shown; leave out --view, or --track."]),
        (["--map", "exact"], ["leave out --map"]),
        (["--task", "id"], ["leave out --task"]),
        ([], ["Cell 'toy/image' needs a release of the spec 'mini+seed=1'"]),
        (["--track", "paper"], ["of the spec 'mini', which no cell of 'paper' names; they name paper."]),
        (["--track", "papre"], ["no track and no file 'papre'; did you mean 'paper'?"]),
    ],
)
def test_what_a_track_does_not_allow(qpibench, mini, folder, tmp_path, options, words):
    asked = ["--track", folder / "toy.toml", "--release", mini, *options]
    qpibench("evaluate", "zeros", *asked, "-o", tmp_path / "zeros.json").fails(2, *words)
    assert not list(tmp_path.iterdir())


def test_releases_that_nobody_asks_for_are_refused(qpibench, mini, folder, tmp_path):
    two = ("--release", mini, "--release", folder / "other.h5", "-o", tmp_path / "zeros.json")
    qpibench("evaluate", "zeros", *two).fails(2, "Several releases are for --track only")
    cell = f"{folder / 'toy.toml'}/raster"
    qpibench("evaluate", "zeros", "--track", cell, *two).fails(
        2, "other.h5' is a release", "which no cell of 'toy' names"
    )


def test_a_metric_that_nobody_knows_is_refused(qpibench, mini, tmp_path):
    track = tmp_path / "toy.toml"
    track.write_text(TOY.replace('"mae"]', '"mea"]').replace('"mae"', '"mea"'))
    asked = ("--track", f"{track}/raster", "--release", mini, "-o", tmp_path / "r.json")
    qpibench("evaluate", "zeros", *asked).fails(2, "Track 'toy', cell 'raster': there is no metric 'mea'")


@pytest.mark.parametrize("cell", ["", "/image"])
def test_an_entry_that_no_cell_shows_enough_is_not_told_an_option_that_a_track_refuses(
    qpibench, mini, folder, write_model, tmp_path, cell
):
    model = write_model("needs = 'positions'\ndef predict(batch): ...\n")
    asked = ("--track", f"{folder / 'toy.toml'}{cell}", "--release", mini, "--release", folder / "other.h5")
    outcome = qpibench("evaluate", model, *asked, "-o", tmp_path / "r.json")
    outcome.fails(2, "No cell can be predicted: Entry 'my_model' needs the view 'positions', but the cell")
    assert "--view" not in outcome.error


def test_predictions_of_a_track_find_and_make_their_releases(qpibench, tmp_path):
    (tmp_path / "one.toml").write_text(TOY.replace('primary = "mae"\nspecs = ["mini", {spec', "specs = [{spec"))
    track = ("predict", "zeros", "--track", tmp_path / "one.toml/image", "-o", tmp_path / "p.h5")
    outcome = qpibench(*track, "--data", tmp_path / "data")
    assert outcome.exit_code == 0, outcome.stderr
    assert len(list((tmp_path / "data").glob("*.h5"))) == 1
    assert (tmp_path / "p.h5").is_file()  # a track with one request needs no names of cells
    qpibench(*track).fails(2, "--release RELEASE, or --track TRACK --data DIR")
    qpibench(*track[:2], *track[4:], "--data", tmp_path / "data").fails(2, "a track; add --track")
