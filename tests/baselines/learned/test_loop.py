import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_training
import torch
from accelerate.state import AcceleratorState
from learned import release_source, run_writer
from learned.checkpoint import read_checkpoint
from learned.device import make_accelerator
from learned.lanes import fit_lanes
from learned.loop import plan_of, split_budget
from learned.run_writer import RunWriter
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_training import SAVE_EVERY, STEPS, Training

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.locator import locate
from qpibench.training import RunFolder, TrainingRun, load_run, update_run

TOTAL = sum(STEPS)


@pytest.fixture
def training(tiny_release, tmp_path):
    return Training(tiny_release, tmp_path / "run")


@pytest.fixture(autouse=True)
def _draws_no_curves(monkeypatch):
    # They would take most of the time, and have tests of their own.
    monkeypatch.setattr(run_writer, "draw_curves", lambda log, picture: None)


@pytest.fixture
def _saves_often(monkeypatch):
    asked = iter(range(1, 10**9))
    monkeypatch.setattr(RunWriter, "is_due", property(lambda writer: next(asked) % SAVE_EVERY == 0))


@pytest.fixture(scope="module")
def uninterrupted(tiny_release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    Training(tiny_release, folder).fit()
    return folder


def lines(folder):
    read = [json.loads(line) for line in RunFolder(folder).log.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in read]


def losses(folder):
    return [(line["stage"], line["step"], line["loss"]) for line in lines(folder) if "loss" in line]


def same_run(folder, other):
    weights, others = (load_file(RunFolder(each).weights) for each in (folder, other))
    return lines(folder) == lines(other) and all(torch.equal(weights[name], others[name]) for name in others)


def run_apart(training, *moment):
    command = [sys.executable, tiny_training.__file__, str(training.release), str(training.folder), *moment]
    path = os.pathsep.join([str(locate("baselines")), *sys.path])
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)


def fit_as_lane(training, **options):
    """Train by the loop that a GPU uses."""
    nothing = TrainingRun(entry="e", entry_path=Path(), folder=Path(), release_path=training.release)
    plan = plan_of(lambda _: training.fit(**options), nothing)
    assert fit_lanes([plan], make_accelerator("no")) == [None]


def at_step(number, harm, stage="first"):
    return lambda name, step, batch: harm() if name == stage and step == number else None


# --- what a run leaves


def test_every_step_of_every_stage_is_logged_once_and_in_order(uninterrupted):
    expected = [("first", step) for step in range(1, 25)] + [("second", step) for step in range(1, 17)]
    assert [(stage, step) for stage, step, _ in losses(uninterrupted)] == expected


def test_validation_comes_at_its_interval_and_at_the_end_of_every_stage(uninterrupted):
    found = [(line["stage"], line["step"]) for line in lines(uninterrupted) if "validation" in line]
    assert found == [("first", step) for step in (5, 10, 15, 20, 24)] + [("second", step) for step in (5, 10, 15, 16)]


def test_the_learning_rate_falls_every_so_many_steps(uninterrupted):
    rates = [line["learning_rate"] for line in lines(uninterrupted) if "loss" in line][:24]
    assert rates == [1e-2] * 10 + [5e-3] * 10 + [2.5e-3] * 4


def test_training_makes_the_loss_smaller(uninterrupted):
    values = [loss for *_, loss in losses(uninterrupted)]
    assert np.mean(values[-5:]) < 0.7 * np.mean(values[:5])


def test_a_complete_run_says_so_and_has_weights_curves_and_points(uninterrupted):
    folder, record = RunFolder(uninterrupted), load_run(uninterrupted)
    assert (record.status, record.steps_done, record.fraction, record.stopped_early) == ("complete", TOTAL, 1.0, False)
    assert record.config == {"recipe": "tiny", "precision": "no", "validation_share": 0.03}
    assert folder.curves.exists()
    assert list(folder.tensorboard.iterdir())
    assert all(tensor.dtype == torch.float16 for tensor in load_file(folder.weights).values())
    with safe_open(folder.weights, "pt") as file:
        assert json.loads(file.metadata()["config"]) == record.config


def test_the_weights_are_those_of_the_best_validation(training):
    def spoil():
        with torch.no_grad():
            training.net.last.bias += 5

    training.at_step = at_step(11, spoil, stage="second")
    training.fit()
    record = load_run(training.folder)
    scores = {line["step"]: line["validation"] for line in lines(training.folder)[25:] if "validation" in line}
    assert (record.best.stage, record.best.score) == ("second", min(scores.values()))
    assert scores[record.best.step] == record.best.score
    assert record.best.step in (5, 10)
    kept = load_file(RunFolder(training.folder).weights)["last.bias"].float()
    assert torch.allclose(kept, training.net.last.bias.detach(), atol=1e-3)
    assert abs(kept.item()) < 2


def test_a_stage_ends_when_validation_has_lost_patience(training):
    training.stage_options = {"learning_rate": 0.0, "patience": 2, "validate_every": 3}
    training.fit()
    assert [step for stage, step, _ in losses(training.folder)] == [*range(1, 10), *range(1, 10)]
    record = load_run(training.folder)
    assert (record.status, record.stopped_early, record.fraction) == ("complete", True, 1.0)


def test_a_shorter_budget_is_shared_among_the_stages_and_is_a_fraction(training):
    training.fit(steps=10)
    assert [stage for stage, *_ in losses(training.folder)] == ["first"] * 6 + ["second"] * 4
    record = load_run(training.folder)
    assert (record.status, record.steps_done, record.fraction) == ("complete", 10, 0.25)


@pytest.mark.parametrize(
    ("steps", "expected"), [(None, (24, 16)), (40, (24, 16)), (90, (24, 16)), (5, (3, 2)), (1, (0, 1))]
)
def test_budgets_add_up(steps, expected, tiny_release):
    run = TrainingRun(entry="e", entry_path=Path("e"), folder=Path("f"), release_path=tiny_release, steps=steps)
    assert split_budget(run, STEPS) == expected


def test_the_same_seed_gives_the_same_run_and_another_one_does_not(training, uninterrupted, tmp_path):
    training.fit()
    assert same_run(training.folder, uninterrupted)
    training.folder = tmp_path / "other"
    training.fit(seed=1)
    assert not set(losses(training.folder)) & set(losses(uninterrupted))


def test_bf16_trains_too_and_is_part_of_the_configuration(training):
    training.fit(precision="bf16", steps=10)
    assert load_run(training.folder).config["precision"] == "bf16"
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(UsageError, match="precision"):
        training.fit(precision="no", steps=10, resume=True)


# --- the end that comes too soon


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_has_the_losses_of_one_that_was_not(training, uninterrupted):
    assert run_apart(training, "step", "19").returncode == -signal.SIGKILL
    assert load_run(training.folder).status == "running"
    assert 0 < load_run(training.folder).steps_done < 19
    training.fit(resume=True)
    assert same_run(training.folder, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("renamed", range(1, 11))
def test_a_run_that_is_killed_while_it_saves_has_the_losses_of_one_that_was_not(training, uninterrupted, renamed):
    assert run_apart(training, "replace", str(renamed)).returncode == -signal.SIGKILL
    training.fit(resume=True)
    assert same_run(training.folder, uninterrupted)
    assert not list(training.folder.glob(".*.partial"))


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("first", signal.SIGTERM),
        ("second", signal.SIGINT),
        pytest.param("first", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("second", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_stops_training_with_a_checkpoint(training, uninterrupted, number, stage, capsys):
    former = signal.getsignal(number)
    training.at_step = at_step(8, lambda: os.kill(os.getpid(), number), stage)
    training.fit()
    record = load_run(training.folder)
    assert (record.status, record.steps_done) == ("stopped", 8 if stage == "first" else 32)
    assert f"Stopped after step 8 of stage '{stage}' because it was interrupted" in capsys.readouterr().err
    assert signal.getsignal(number) == former
    training.at_step = at_step(0, None)
    training.fit(resume=True)
    assert same_run(training.folder, uninterrupted)


def test_a_second_sigterm_does_not_cut_off_the_checkpoint(training):
    training.at_step = at_step(8, lambda: [os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)])
    training.fit()
    record = load_run(training.folder)
    assert (record.status, record.steps_done) == ("stopped", 8)


@pytest.mark.parametrize(
    "fit", [Training.fit, pytest.param(fit_as_lane, marks=pytest.mark.slow)], ids=["eager", "lane"]
)
@pytest.mark.parametrize(
    ("validation", "done"),
    [pytest.param(1, 10, id="middle"), pytest.param(8, 40, marks=pytest.mark.slow, id="end")],
)
def test_a_validation_is_stopped_by_a_signal_and_done_when_the_run_is_resumed(
    training, tmp_path, monkeypatch, fit, validation, done
):
    monkeypatch.setattr(release_source, "VALIDATION_BATCH", 4)
    parts = []
    expected = Training(training.release, tmp_path / "expected", at_validation=lambda *_: parts.append(0))
    fit(expected)
    left = iter(range(validation * len(parts) // 9, -1, -1))  # parts before the signal; there are nine validations
    training.at_validation = lambda *_: next(left) or os.kill(os.getpid(), signal.SIGTERM)
    fit(training)
    record = load_run(training.folder)
    assert (record.status, record.steps_done) == ("stopped", done)
    training.at_validation = lambda *_: None
    fit(training, resume=True)
    assert same_run(training.folder, expected.folder)


@pytest.mark.parametrize("fit", [Training.fit, fit_as_lane], ids=["eager", "lane"])
def test_a_validation_that_does_not_fit_into_memory_is_done_in_smaller_parts(training, uninterrupted, fit):
    def at_validation(stage, batch):
        if len(batch["image"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    training.at_validation = at_validation
    fit(training)
    assert len(losses(training.folder)) == TOTAL
    assert load_run(training.folder).best.score == pytest.approx(load_run(uninterrupted).best.score, rel=1e-4)


def test_a_validation_for_which_no_memory_suffices_names_the_batch_size(training):
    def at_validation(stage, batch):
        raise MemoryError

    training.at_validation = at_validation
    with pytest.raises(QpibenchError, match=r"memory in the validation after step 5, .* set a batch_size below 4,"):
        training.fit()


def test_training_in_pieces_has_the_losses_of_training_at_once(training, uninterrupted):
    training.fit(max_seconds=1e-9)
    while load_run(training.folder).status == "stopped":
        training.fit(resume=True, max_seconds=0.2)
    assert load_run(training.folder).steps_done == TOTAL
    assert same_run(training.folder, uninterrupted)


def test_a_complete_run_that_is_resumed_stays_as_it_is(training, capsys):
    training.fit(steps=4)
    before = load_run(training.folder), lines(training.folder)
    training.at_step = at_step(1, lambda: pytest.fail("a step was done"))
    training.fit(steps=4, resume=True)
    assert "nothing to resume" in capsys.readouterr().err
    after = load_run(training.folder)
    assert after.model_copy(update={"seconds": before[0].seconds}) == before[0]
    assert lines(training.folder) == before[1]


@pytest.mark.usefixtures("_saves_often")
def test_a_loss_that_is_not_finite_stops_training_and_keeps_a_checkpoint_whose_parameters_are_finite(training):
    def spoil():
        with torch.no_grad():
            training.net.last.bias.fill_(torch.nan)

    training.at_step = at_step(17, spoil)
    with pytest.raises(QpibenchError, match=r"The loss of stage 'first' is nan at step 17") as caught:
        training.fit()
    assert caught.value.exit_code == 1
    assert load_run(training.folder).status == "stopped"
    checkpoint = read_checkpoint(RunFolder(training.folder).checkpoint)
    assert checkpoint.position.step == 14
    assert all(tensor.isfinite().all() for tensor in checkpoint.net.values())


@pytest.mark.usefixtures("_saves_often")
def test_parameters_that_are_not_finite_are_not_kept_though_the_loss_was(training):
    def spoil():
        training.net.last.bias.register_hook(lambda gradient: gradient * torch.nan)

    training.at_step = at_step(2 * SAVE_EVERY, spoil)  # a checkpoint is due, and the loss will tell of it a step later
    with pytest.raises(
        QpibenchError,
        match=rf"parameters of stage 'first' .* after step {2 * SAVE_EVERY}; the last checkpoint",
    ):
        training.fit()
    checkpoint = read_checkpoint(RunFolder(training.folder).checkpoint)
    assert checkpoint.position.step == SAVE_EVERY
    assert all(tensor.isfinite().all() for tensor in checkpoint.net.values())


def test_a_batch_that_does_not_fit_into_memory_is_answered_with_one_that_does(training):
    def at_step(stage, step, batch):
        if len(batch["image"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    training.at_step, training.batch_size = at_step, 16
    with pytest.raises(QpibenchError, match=r"with a batch of 16; a batch of 2 fits: set batch_size=2"):
        training.fit()


def test_where_no_batch_fits_into_memory_the_message_says_so(training):
    def at_step(stage, step, batch):
        raise MemoryError

    training.at_step = at_step
    with pytest.raises(QpibenchError, match="no smaller batch"):
        training.fit()


@pytest.mark.usefixtures("_saves_often")
def test_a_full_disk_is_one_sentence_and_the_older_checkpoint_stays(training, uninterrupted):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    fill = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))  # noqa: E731
    training.width = 32  # some kilobytes more than the log
    training.at_step = at_step(11, fill)
    try:
        with pytest.raises(QpibenchError, match=r"Checkpoint '.*' cannot be written: File too large\. The files"):
            training.fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_checkpoint(RunFolder(training.folder).checkpoint).position.step == 7
    assert not list(training.folder.glob(".*.partial"))
    training.at_step = at_step(0, None)
    training.fit(resume=True)
    assert load_run(training.folder).status == "complete"


def test_a_run_that_began_before_validations_were_limited_keeps_their_interval(training):
    training.stage_options = {"validate_every": None}
    training.fit(max_seconds=1e-9)
    record = load_run(training.folder)
    former = {name: value for name, value in record.config.items() if name != "validation_share"}
    update_run(training.folder, config=former)
    training.fit(resume=True)
    assert load_run(training.folder).config == former


# --- folders that do not fit


def test_a_folder_that_holds_a_run_is_refused_without_resume(training):
    training.fit(steps=2)
    with pytest.raises(UsageError, match="--resume"):
        training.fit(steps=2)


def test_resuming_with_another_configuration_says_what_changed(training):
    training.fit(max_seconds=1e-9)
    training.config = {"recipe": "other"}
    with pytest.raises(UsageError, match=r"config.recipe was 'tiny' and is 'other'"):
        training.fit(resume=True)


def test_resuming_with_another_architecture_is_refused(training):
    training.fit(max_seconds=1e-9)
    training.width = 8
    with pytest.raises(InvalidDataError, match=r"another architecture: its first.bias has the shape \(6,\)"):
        training.fit(resume=True)


def test_resuming_from_a_corrupt_checkpoint_is_refused(training):
    training.fit(max_seconds=1e-9)
    path = RunFolder(training.folder).checkpoint
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InvalidDataError, match="is corrupt"):
        training.fit(resume=True)


def test_resuming_where_nothing_was_saved_yet_begins_anew(training, uninterrupted):
    training.at_step = at_step(1, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        training.fit()
    training.at_step = at_step(0, None)
    training.fit(resume=True)
    assert same_run(training.folder, uninterrupted)


@pytest.mark.slow
def test_two_processes_share_every_batch_and_train_as_one_does(training, tmp_path):
    training.noise = 0.0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    path = os.pathsep.join([str(locate("baselines")), *sys.path])
    done = subprocess.run(
        [
            *command,
            "--nproc-per-node=2",
            tiny_training.__file__,
            str(training.release),
            str(tmp_path / "two"),
            "noise",
            "0",
        ],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    training.fit()
    alone, together = (
        [line.get("loss", line.get("validation")) for line in lines(each)]
        for each in (training.folder, tmp_path / "two")
    )
    assert together == pytest.approx(alone, rel=1e-4)
