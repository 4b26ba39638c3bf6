"""The studies of the learned entries: every command is one that qpibench takes, and a small study runs to its end."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file
from toy_study import ALONE, FIRST, OTHER, PATIENCE_S, TOY_STUDY, TRACK, started, written

from benchmarks.arms import EXACT, STUDIES, Study
from benchmarks.studies import (
    Settings,
    compare_command,
    comparison_lines,
    evaluate_command,
    run,
    summarise,
    train_command,
)
from qpibench.cli.main import cli
from qpibench.errors import QpibenchError, UsageError
from qpibench.evaluation.entries import file_sha256, find_code
from qpibench.evaluation.paired import Comparison
from qpibench.evaluation.result import Result
from qpibench.locator import locate
from qpibench.tasks.track import load_track
from qpibench.training import RunFolder, TrainingRun, load_run, update_run
from qpibench.training.request import parse_options

ARMS = {arm.name: arm for study in STUDIES.values() for arm in study.arms}


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)
def test_the_command_line_takes_every_command(arm, release, tmp_path):
    settings = Settings(release=release, output=tmp_path, steps=10, max_minutes=1.5)
    for folder in ("runs", "predictions", "results"):
        (tmp_path / folder).mkdir()
    commands = [make(arm, 1, settings) for make in (train_command, evaluate_command)]
    settings.run_folder(arm, 1).mkdir()
    (settings.run_folder(arm, 1) / "run.json").touch()
    commands += [train_command(arm, 1, settings), compare_command(arm, FIRST, "id", settings)]
    parsed = [cli.get_command(None, name).make_context(name, list(rest)).params for name, *rest in commands]
    train, evaluate, resumed, compared = parsed
    assert (train["entry"], train["steps"], train["max_minutes"], train["seed"]) == (arm.entry, 10, 1.5, 1)
    assert (train["options"], train["pretrained"], train["resume"]) == (arm.settings, arm.pretrained, False)
    assert (train["release_path"], train["stream"]) == ((None, "mini") if arm.stream else (release, None))
    assert resumed == train | {"resume": True}
    assert (evaluate["track"], evaluate["limit"], evaluate["output"]) == (arm.track, None, settings.result(arm, 1))
    assert settings.predictions(arm, 1, "id") == evaluate["predictions"].with_stem(f"{arm.name}-1-id")
    assert compared["a"] == tuple(settings.predictions(arm, seed, "id") for seed in (0, 1, 2))
    assert compared["b"] == tuple(settings.predictions(FIRST, seed, "id") for seed in (0, 1, 2))


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)
def test_every_arm_is_of_a_recipe_and_a_preset_that_its_entry_has(arm, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(locate("baselines"))
    from learned import backbone, profile_net, profile_training, recipes, shift_net, shift_recipes

    known = {
        "one_step": (recipes.ONE_STEP, backbone.PRESETS),
        "two_step": (recipes.TWO_STEP, backbone.PRESETS),
        "polar_two_step": (profile_training.RECIPES, profile_net.PRESETS),
        "shift_vae": (shift_recipes.SHIFT_VAE, shift_net.PRESETS),
    }
    of_entry, presets = known[arm.entry]
    code = find_code(arm.entry)
    asked = TrainingRun(
        entry=code.name,
        entry_path=code.path,
        folder=Path("run"),
        release_path=Path("paper.h5"),
        recipe=arm.recipe,
        options=parse_options(arm.settings),
    )
    recipe = recipes.choose_recipe(of_entry, asked)
    if arm.entry != "polar_two_step":  # is trained without maps
        assert {cell.map for cell in load_track(arm.track).cells.values()} == {recipe.map_mode}
    assert arm.preset in presets
    unset = recipes.choose_recipe(of_entry, replace(asked, options={}))
    assert (recipe != unset) == bool(arm.settings)


def test_a_name_belongs_to_one_arm_and_the_others_of_a_study_differ_from_its_first():
    for study in STUDIES.values():
        first, *others = study.arms
        for arm in study.arms:
            assert arm == ARMS[arm.name]
        assert all(replace(other, name=first.name) != first for other in others)
        assert study.question.count("?") == 1
    assert len({replace(arm, name="") for arm in ARMS.values()}) == len(ARMS)


@pytest.mark.slow
def test_a_study_is_made_and_told_in_words(once):
    folder, printed = once
    told = printed.splitlines()
    assert told[1] == "Does an offset help?"
    assert told[2] == "  first against other, 1 seed each, 95 % intervals:"
    for line, start in zip(told[3:7], ("id, rel", "id, MAE", "ood, rel", "ood, MAE"), strict=True):
        assert line.startswith(f"    {start}")
        assert re.search(r": [\d.]+ and [\d.]+, difference 0 \[0, 0\]; it is open which error is lower\.$", line)
    assert "one seed each" in told[7]
    assert told[8] == f"  In full: {folder / 'comparisons'}"
    result = Result.model_validate_json((folder / "results" / "other-0.json").read_text())
    assert (result.model.name, result.model.training.steps_done) == ("toy (plain, small, offset=0.5, seed 0)", 3)
    assert [cell.record.label for cell in result.cells.values()] == ["mini/id", "mini/ood"]
    comparison = Comparison.model_validate_json((folder / "comparisons" / "first-other-ood.json").read_text())
    assert (list(comparison.tasks), comparison.a[0].cell) == (["ood"], "mini/ood")


@pytest.mark.slow
def test_what_is_there_is_not_made_again(once, made, capfd):
    before = written(made.output)
    run([TOY_STUDY], made)
    printed, commands = capfd.readouterr()
    assert printed == once[1].replace(str(once[0]), str(made.output))
    assert [line.split()[1] for line in commands.splitlines()] == ["compare", "compare"]
    compared = [str(made.comparison(FIRST, OTHER, cell).relative_to(made.output)) for cell in FIRST.cells]
    assert written(made.output) | {path: before[path] for path in compared} == before


@pytest.mark.slow
def test_an_arm_that_was_broken_off_is_continued(made, capfd):
    update_run(made.run_folder(FIRST, 0), status="stopped", steps_done=2)
    run([ALONE], made)
    commands = capfd.readouterr().err.splitlines()
    assert [line.split()[1] for line in commands if line.startswith("qpibench ")] == ["train"]
    record = load_run(made.run_folder(FIRST, 0))
    assert (record.status, record.steps_done) == ("complete", 3)


@pytest.mark.slow
def test_an_arm_predicts_again_with_other_weights_and_for_another_limit(made):
    folder = RunFolder(made.run_folder(FIRST, 0))
    old = Result.model_validate_json(made.result(FIRST, 0).read_text())
    save_file({"kernel": np.full((64, 64), 3, np.float32)}, folder.weights)
    update_run(folder, weights_sha256=file_sha256(folder.weights))
    run([ALONE], made)
    other_weights = Result.model_validate_json(made.result(FIRST, 0).read_text())
    assert other_weights.cells["id"].metrics != old.cells["id"].metrics
    run([ALONE], replace(made, limit=3))
    assert Result.model_validate_json(made.result(FIRST, 0).read_text()).cells["id"].n_images == 3


@pytest.mark.slow
def test_a_run_that_is_not_complete_is_told(made):
    update_run(made.run_folder(FIRST, 0), status="stopped", steps_done=2)
    lines = list(summarise(ALONE, made, None))
    assert lines[1:] == [
        "  first-0 is not complete: 2 of 3 steps.",
        f"  There is nothing to compare; the scores are in {made.output / 'results'}.",
    ]


@pytest.mark.slow
def test_a_folder_with_runs_of_another_study_is_refused_before_anything_is_made(made):
    before = written(made.output)
    changed = {
        "steps is 3, but the study asks for 4": (FIRST, {"steps": 4}),
        "steps is 3, but the study asks for 100": (FIRST, {"steps": None}),
        "recipe is plain, but the study asks for fancy": (replace(FIRST, recipe="fancy"), {}),
        "options is {}, but the study asks for {'offset': 1}": (replace(FIRST, settings=("offset=1",)), {}),
    }
    for sentence, (arm, fields) in changed.items():
        with pytest.raises(UsageError) as error:
            run([Study(question="And now?", arms=(replace(FIRST, name="new"), arm))], replace(made, **fields))
        assert f"first-0' holds a run whose {sentence}; give it another folder" in str(error.value)
    assert written(made.output) == before


def test_the_first_arm_that_fails_ends_the_study(settings, capfd):
    broken = replace(FIRST, name="broken", settings=('fail="raise"',))
    with pytest.raises(QpibenchError, match=r"`qpibench train .*broken-0.*` ended with exit code 1\."):
        run([Study(question="Does it work?", arms=(broken, FIRST))], settings)
    assert "ValueError: the toy is broken" in capfd.readouterr().err
    assert not settings.run_folder(FIRST, 0).exists()


@pytest.mark.slow
def test_a_study_that_is_ended_ends_its_trainings_with_a_checkpoint(settings, tmp_path):
    study, worker = started(settings, tmp_path)
    study.send_signal(signal.SIGTERM)
    _, stderr = study.communicate(timeout=PATIENCE_S)
    _, alive = psutil.wait_procs([worker], timeout=PATIENCE_S)
    assert alive == []
    assert study.returncode == 130
    assert stderr.endswith("Interrupted; the same command goes on.\n")
    assert "Traceback" not in stderr
    assert load_run(settings.run_folder(FIRST, 0)).status == "stopped"
    assert not settings.run_folder(FIRST, 1).exists()


def test_a_study_that_is_killed_leaves_no_training(settings, tmp_path):
    study, worker = started(settings, tmp_path)
    command = worker.parent()
    study.kill()
    _, alive = psutil.wait_procs([study, command, worker], timeout=PATIENCE_S)
    for survivor in alive:
        survivor.kill()
    assert alive == []


def test_words_say_which_error_is_lower():
    def metric(lower, low, high):
        return {
            "a": [0.2, 0.3],
            "b": [0.5, 0.6],
            "difference": {"value": -0.3, "low": low, "high": high},
            "lower": lower,
        }

    metrics = {"rel_l2_capped": metric("A", -0.5, -0.1), "mae_published": metric(None, -0.7, 0.1)}
    comparison = {"a": [{}, {}], "intervals": {"level": 0.95}, "tasks": {"ood": {"metrics": metrics}}}
    assert list(comparison_lines("two", "one", {"ood": comparison})) == [
        "  two against one, 2 seeds each, 95 % intervals:",
        "    ood, relative L2, capped: 0.250 and 0.550, difference −0.300 [−0.500, −0.100]; the error of two is lower.",
        "    ood, MAE, published convention: 0.250 and 0.550, difference −0.300 [−0.700, 0.100]; it is open which error"
        " is lower.",
    ]


@pytest.mark.slow
def test_a_study_of_the_published_methods_runs_to_its_end(settings, tmp_path, capfd):
    pytest.importorskip("diffusers")
    published = tmp_path / "published.toml"
    published.write_text(TRACK.read_text().replace('map = "exact"', 'map = "paper"'))
    tracks = {"paper": str(published), str(EXACT): str(TRACK)}
    arms = [replace(arm, preset="tiny", track=tracks[arm.track]) for arm in STUDIES["map"].arms]
    run([Study(question=STUDIES["map"].question, arms=tuple(arms))], settings)
    told = capfd.readouterr().out
    assert "two_step-article against two_step-article-exact, 1 seed each" in told
    for arm in arms:
        result = Result.model_validate_json(settings.result(arm, 0).read_text())
        asked = load_track(arm.track).cell("id").map
        assert (result.cells["id"].map_mode, result.model.training.steps_done) == (asked, 3)
