"""A suite: one command generates what is missing, runs every cell, and writes one result."""

import json
import os
from pathlib import Path

import pytest

from qpibench.cli.models import score_file
from qpibench.evaluation.result_file import save_result

TRACK = """
summary = "cells of one and of two families"

[every_cell]
specs = [{spec = "mini", set = ["kernels.count=10"]}]
set = ["seed=3", "observations_per_kernel=1", "splits.ood_kernels=1"]
task = "ood"
view = "positions"
metrics = ["rel_l2_capped"]
primary = "rel_l2_capped"

[cells.families]
map = "exact"
specs = [
    {spec = "mini", set = ["kernels.count=3", "scatterers.max=2"]},
    {spec = "mini", set = ["kernels.count=4", "scatterers.max=2", "name=four"]},
    {spec = "square_64", set = ["kernels.count=3"]},
]

[cells.learned]
training = "mini"

[cells.image]
view = "image"
"""

FIT = """
needs = "image"
class Model:
    def fit(self, train):
        self.kernel = train.kernels.mean(axis=0)
    def predict(self, batch):
        return self.kernel[None].repeat(len(batch), axis=0)
"""


@pytest.fixture(scope="module")
def folder(qpibench, tmp_path_factory):
    """A suite, its data, and the result of zeros; not to be changed."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "toy.toml").write_text(TRACK)
    (folder / "all.toml").write_text("summary = 'all'\ncells = ['toy.toml']\n")
    outcome = evaluate(qpibench, folder, "zeros")
    assert outcome.exit_code == 0, outcome.stderr
    return folder


def evaluate(qpibench, folder, model, *more):
    suite = ("--suite", folder / "all.toml", "--data", folder / "data", "--predictions", folder / "p.h5")
    return qpibench("evaluate", model, *suite, "-o", folder / "result.json", *more)


def test_a_result_has_every_cell_or_the_reason_why_not(qpibench, folder, tmp_path):
    model = tmp_path / "learns.py"
    model.write_text(FIT)
    outcome = evaluate(qpibench, folder, model, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    result = outcome.json
    assert list(result["cells"]) == ["toy/learned"]
    assert result["cells"]["toy/learned"]["metrics"]["rel_l2_capped"]["value"] < 1
    assert "no training images" in result["not_applicable"]["toy/image"]
    assert (result["suite"]["name"], result["suite"]["limit"]) == ("all", None)
    assert json.loads((folder / "result.json").read_text())["not_applicable"] == result["not_applicable"]


def test_a_model_with_fit_that_does_not_say_so_is_trained_on_the_training_role(qpibench, folder, mini, tmp_path):
    model = tmp_path / "learns.py"
    model.write_text(FIT)
    track = ("--track", folder / "toy.toml/learned", "--data", folder / "data")
    for asked, of in ((track, "the track"), (("--release", mini), "the release")):
        result = qpibench("evaluate", model, *asked, "--limit", 1, "-o", tmp_path / "r.json", "--json").json
        assert result["model"]["trained_on"] == [f"the training role of {of}"]


def test_a_table_has_a_row_for_every_cell_and_shows_families_apart(qpibench, folder):
    lines = evaluate(qpibench, folder, "zeros").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["toy/families", "toy/learned", "toy/image"]
    assert "eq7 1.00, tight_binding 1.00" in lines[1]


@pytest.mark.slow
def test_the_score_of_a_cell_is_the_mean_of_families_of_the_mean_of_their_releases(qpibench, folder):
    result = evaluate(qpibench, folder, "tikhonov", "--json").json
    cell = result["cells"]["toy/families"]
    first, second, third = (part["metrics"]["rel_l2_capped"]["value"] for part in cell["parts"])
    assert cell["metrics"]["rel_l2_capped"]["value"] == pytest.approx(((first + second) / 2 + third) / 2)


def test_releases_are_generated_once_and_the_result_can_be_derived_again(qpibench, folder):
    made = {path: path.stat().st_mtime_ns for path in (folder / "data").iterdir()}
    assert evaluate(qpibench, folder, "zeros", "--limit", 2).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "data").iterdir()} == made
    files = [word for path in sorted(folder.glob("p-*.h5")) for word in ("--predictions", path)]
    check = qpibench("leaderboard", "check", folder / "result.json", *files, "--data", folder / "data")
    assert check.exit_code == 0, check.stderr
    assert "is what its predictions give" in check.stdout


def test_messages_of_a_model_say_in_which_cells_it_failed(qpibench, folder, write_model):
    model = write_model("""
        import numpy as np
        def predict(batch):
            if batch.position_nm is None or batch.grid.size_x_nm < 9:
                raise ValueError("none")
            return np.full(batch.image.shape, np.nan, np.float32)
    """)
    outcome = evaluate(qpibench, folder, model, "--limit", 1)
    outcome.fails(1, "Cells 'toy/families' on 'toy-families-square_64', 'toy/image': The model failed")
    some = "'toy-families-mini' and 'toy-families-four'"
    assert outcome.stderr.count(f"Warning: Cells 'toy/families' on {some}, 'toy/learned': An image") == 1


def test_a_cell_of_which_a_model_takes_one_part_only_is_not_applicable(qpibench, folder, tmp_path, write_model):
    sizes = TRACK.replace(
        '{spec = "square_64", set = ["kernels.count=3"]}', '{spec = "mini", set = ["grid.nx=48", "name=wide"]}'
    )
    (tmp_path / "sizes.toml").write_text(sizes)
    (tmp_path / "some.toml").write_text("summary = 'some'\ncells = ['sizes.toml/families', 'sizes.toml/image']\n")
    model = write_model("takes_pixels = (64, 64)\ndef predict(batch): return batch.image")
    given = ("--suite", tmp_path / "some.toml", "--data", tmp_path / "data", "-o", tmp_path / "r.json", "--limit", 1)
    result = qpibench("evaluate", model, *given, "--json").json
    assert list(result["cells"]) == ["sizes/image"]
    assert "64 x 64 pixels only, and the images have 64 x 48" in result["not_applicable"]["sizes/families"]


def test_a_model_that_does_not_exist_is_told_before_releases_are_generated(qpibench, folder, tmp_path, unchanged):
    suite = ("--suite", folder / "all.toml", "--data", tmp_path / "data", "-o", tmp_path / "r.json")
    with unchanged():
        qpibench("evaluate", tmp_path / "none.py", *suite).fails(2, "There is no model file")


@pytest.fixture
def resume(qpibench, folder, tmp_path, monkeypatch):
    """Evaluate again, after a run that was interrupted when the first of two cells was complete."""
    (folder / "some.toml").write_text("summary = 'some'\ncells = ['toy.toml/families', 'toy.toml/learned']\n")

    def run(*more, model="zeros", suite="some.toml", limit=1):
        where = ("--suite", folder / suite, "--data", folder / "data", "--limit", limit, "-o", tmp_path / "r.json")
        return qpibench("evaluate", model, *where, "--predictions", tmp_path / "p.h5", *more)

    with monkeypatch.context() as patch:
        scored = iter([score_file] * 3)
        patch.setattr("qpibench.cli.evaluate.score_file", lambda *arguments: next(scored, _interrupt)(*arguments))
        run().fails(130, "Interrupted", "1 of 2 cells; --resume evaluates the others")
    return lambda *more, **others: run("--resume", "--json", *more, **others)


FAMILY = "p-families.toy-families-four.h5"


def test_an_interrupted_run_keeps_the_cells_that_it_finished(resume, tmp_path):
    result = json.loads((tmp_path / "r.json").read_text())
    assert (list(result["cells"]), result["status"]) == (["toy/families"], "unfinished")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_cell_counts_that_is_complete_when_the_run_is_interrupted_at_its_writing(
    qpibench, folder, tmp_path, monkeypatch, moment
):
    (folder / "some.toml").write_text("summary = 'some'\ncells = ['toy.toml/families', 'toy.toml/learned']\n")
    interruptions = iter([_interrupt])

    def save(result, path):
        if moment == "after":
            save_result(result, path)
        next(interruptions, save_result)(result, path)

    monkeypatch.setattr("qpibench.evaluation.gathering.save_result", save)
    where = ("--suite", folder / "some.toml", "--data", folder / "data", "--limit", 1, "-o", tmp_path / "r.json")
    qpibench("evaluate", "zeros", *where).fails(130, "1 of 2 cells; --resume evaluates the others")
    result = json.loads((tmp_path / "r.json").read_text())
    assert (list(result["cells"]), result["status"]) == (["toy/families"], "unfinished")


def test_a_resumed_run_evaluates_the_missing_cells_only(resume, tmp_path):
    former = json.loads((tmp_path / "r.json").read_text())["cells"]["toy/families"]
    written = (tmp_path / FAMILY).stat().st_mtime_ns
    for _ in range(2):  # the second time nothing is missing
        outcome = resume()
        assert outcome.exit_code == 0, outcome.stderr
        assert (list(outcome.json["cells"]), outcome.json["status"]) == (["toy/families", "toy/learned"], "complete")
        assert json.loads((tmp_path / "r.json").read_text())["cells"]["toy/families"] == former
        assert (tmp_path / FAMILY).stat().st_mtime_ns == written


def test_scores_stay_until_cells_that_are_evaluated_again_are_complete(resume, tmp_path, monkeypatch):
    former = resume().json["cells"]
    monkeypatch.setattr("qpibench.cli.evaluate.score_file", _interrupt)
    resume("--report", tmp_path / "r.html").fails(130)
    assert json.loads((tmp_path / "r.json").read_text())["cells"] == former
    scored = iter([score_file] * 3)
    monkeypatch.setattr("qpibench.cli.evaluate.score_file", lambda *arguments: next(scored, _interrupt)(*arguments))
    resume("--report", tmp_path / "r.html").fails(130, "1 of 2 cells")
    kept = json.loads((tmp_path / "r.json").read_text())
    assert (list(kept["cells"]), kept["status"]) == (["toy/families", "toy/learned"], "unfinished")
    assert kept["cells"]["toy/learned"] == former["toy/learned"]


@pytest.mark.slow
def test_a_cell_without_the_wanted_files_is_evaluated_again(resume, tmp_path):
    (tmp_path / FAMILY).unlink()
    assert list(resume().json["cells"]) == ["toy/families", "toy/learned"]
    assert (tmp_path / FAMILY).exists()


@pytest.mark.parametrize(
    ("more", "change", "words"),
    [
        ([], {"model": "tikhonov"}, "it is of the entry 'zeros', and 'tikhonov' is asked"),
        ([], {"limit": 2}, "it is of the suite 'some' ("),
        pytest.param([], {"suite": "all.toml"}, "it is of the suite 'some' (", marks=pytest.mark.slow),
        (["--threads", 2], {}, "it was made with --threads 1, and 2 are asked"),
    ],
)
def test_a_result_of_another_evaluation_is_not_resumed(resume, unchanged, more, change, words):
    with unchanged():
        resume(*more, **change).fails(2, "cannot be resumed", words)


def test_a_cell_in_which_the_model_failed_is_evaluated_again(qpibench, folder, tmp_path, write_model):
    model = write_model("""
        from pathlib import Path
        def predict(batch):
            if not (Path(__file__).parent / "works").exists():
                raise ValueError("not yet")
            return batch.image
    """)
    command = ("evaluate", model, "--track", folder / "toy.toml/image", "--data", folder / "data", "--resume")
    qpibench(*command, "-o", tmp_path / "r.json").fails(1, "not yet")
    (model.parent / "works").touch()
    assert qpibench(*command, "-o", tmp_path / "r.json").exit_code == 0
    model.write_text(model.read_text() + "\n")
    qpibench(*command, "-o", tmp_path / "r.json").fails(2, "the code of 'my_model' has changed since")


def _interrupt(*_):
    raise KeyboardInterrupt


def test_a_folder_that_cannot_be_written_to_is_read(qpibench, folder, tmp_path, monkeypatch):
    read_only = [folder / "data", tmp_path / "empty"]
    read_only[1].mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK or Path(path) not in read_only)
    suite = ("--suite", folder / "all.toml", "--limit", 1, "-o", tmp_path / "r.json", "--data")
    assert qpibench("evaluate", "zeros", *suite, read_only[0]).exit_code == 0
    qpibench("evaluate", "zeros", *suite, read_only[1]).fails(
        2, "is missing and cannot be generated", str(read_only[1])
    )


def test_a_check_against_other_predictions_tells_the_hashes_of_all_parts(qpibench, folder, mini, predictions):
    assert evaluate(qpibench, folder, "zeros", "--limit", 1).exit_code == 0
    check = ("leaderboard", "check", folder / "result.json", "--predictions", predictions)
    qpibench(*check, "--release", mini).fails(3, "' was measured on another release: it names", " of '")
    qpibench(*check, "--data", folder / "none").fails(2, "There is no folder", "none'")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--suite", "quick", "--release", "{mini}"], "of the spec 'mini', which no cell of"),
        (["--suite", "quick", "--track", "paper"], "leave out --track"),
        (["--data", "{folder}"], "add --suite or --track"),
        ([], "--suite SUITE, --release RELEASE"),
        (["--release", "{mini}", "--data", "{folder}"], "add --suite or --track"),
        (["--release", "{mini}", "--resume"], "--resume continues with the cells of a suite or a track"),
    ],
)
def test_options_that_contradict_each_other_are_refused(qpibench, mini, tmp_path, options, words):
    filled = [option.format(mini=mini, folder=tmp_path / "data") for option in options]
    qpibench("evaluate", "zeros", *filled, "-o", tmp_path / "r.json").fails(2, words)
    assert not list(tmp_path.iterdir())
