"""The queue of the published methods on a CPU: its arms, what it continues, and what it says."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from unittest.mock import Mock

import psutil
import pytest
from toy_study import ALONE, AT_EASE, FIRST, OTHER, PATIENCE_S, ROOT, TOY_STUDY, TRACK, command_of, started, written

from benchmarks import cpu_queue
from benchmarks.arms import CPU_QUEUE, EQUAL_HOURS, LONG, ONE_STEP, QUEUE, STUDIES, Study
from benchmarks.cpu_queue import Queue, Row, arms_of, run_queue, table
from benchmarks.estimate import StepTimes, lengths_by_entry
from benchmarks.exported import choose_runs, export_runs, exported_files
from benchmarks.studies import is_predicted, run
from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.evaluation.result import Result
from qpibench.locator import locate
from qpibench.specs import load_spec
from qpibench.training import RunFolder, load_run, update_run

pytestmark = pytest.mark.slow  # of the queue that trains for days


def test_a_queue_that_is_killed_goes_on_by_the_same_command(settings, tmp_path):
    study, worker = started(settings, tmp_path, "--queue", "--limit", 2, before=AT_EASE)
    study.kill()
    psutil.wait_procs([study, worker], timeout=PATIENCE_S)
    assert states(settings) == {"first-0": "training", "first-1": "not begun"}
    again = command_of(settings, tmp_path / "told", "--queue", "--limit", 2, before=AT_EASE)
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert states(settings) == {"first-0": "complete", "first-1": "complete"}
    trained = [line for line in done.stderr.splitlines() if line.startswith("qpibench train")]
    assert ["--resume" in line for line in trained] == [True, False]
    assert all("--precision no" in line for line in trained)
    assert "first-1  complete       100 of 100 steps, 0.00 h" in done.stdout
    assert sorted(path.name for path in (settings.output / "results").iterdir()) == ["first-0.json", "first-1.json"]
    assert written(settings.output / "weights").keys() == {"first-0/run.json", "first-0/weights.safetensors"}


def test_a_queue_runs_at_the_lowest_priority_and_with_one_thread(settings, tmp_path):
    study, worker = started(settings, tmp_path, "--queue")
    assert worker.nice() == 19
    assert worker.environ()["NUMBA_NUM_THREADS"] == worker.environ()["OMP_NUM_THREADS"] == "1"
    second = subprocess.run(
        command_of(settings, tmp_path / "told", "--queue"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (second.returncode, second.stderr.startswith("Error: Another queue works in")) == (2, True)
    study.send_signal(signal.SIGTERM)
    _, stderr = study.communicate(timeout=PATIENCE_S)
    assert (study.returncode, stderr.splitlines()[-1]) == (130, "Interrupted; the same command goes on.")
    assert "--resume" not in stderr
    assert states(settings) == {"first-0": "stopped", "first-1": "not begun"}


def test_the_steps_of_a_run_that_another_command_shortened_are_counted_towards_their_number(settings, tmp_path):
    study, _ = started(settings, tmp_path, "--queue", "--steps", 20, before=AT_EASE)
    study.send_signal(signal.SIGTERM)
    study.communicate(timeout=PATIENCE_S)
    runs = json.loads((settings.output / "queue.json").read_text())["runs"]
    assert [(run["steps_done"], run["steps_budget"]) for run in runs] == [(7, 20), (0, 20)]


def states(settings):
    status = json.loads((settings.output / "queue.json").read_text())
    return {run["run"]: run["state"] for run in status["runs"]}


def test_an_arm_of_the_queue_that_fails_does_not_end_it(settings, capfd):
    broken = replace(FIRST, name="broken", settings=('fail="raise"',))
    assert not run_queue([Study(question="Does it work?", arms=(broken, FIRST))], settings)
    assert states(settings) == {"broken-0": "failed", "first-0": "complete"}
    assert "ended with exit code 1" in capfd.readouterr().out


def test_a_disk_that_becomes_full_does_not_end_the_queue(settings, monkeypatch, capfd):
    fails = Mock(side_effect=[None, *[QpibenchError("The disk is full.")] * 9])
    monkeypatch.setattr(cpu_queue, "write_whole", fails)
    settings.output.mkdir()
    (settings.output / "weights").touch()
    assert run_queue([ALONE], settings)
    assert load_run(settings.run_folder(FIRST, 0)).status == "complete"
    assert capfd.readouterr().err.count("Error: ") == fails.call_count  # one of the exported weights


def test_a_status_that_can_never_be_written_is_a_usage_error_before_any_training(settings, capfd):
    (settings.output / "queue.json").mkdir(parents=True)
    with pytest.raises(UsageError, match="is a folder"):
        run_queue([ALONE], settings)
    assert "qpibench train" not in capfd.readouterr().err


def test_the_queue_continues_a_run_that_is_linked_into_its_folder(once, settings, tmp_path):
    elsewhere = shutil.copytree(once[0] / "runs" / "first-0", tmp_path / "elsewhere")
    update_run(elsewhere, status="stopped", steps_done=2)
    settings.run_folder(FIRST, 0).parent.mkdir(parents=True)
    settings.run_folder(FIRST, 0).symlink_to(elsewhere)
    assert run_queue([ALONE], settings)
    assert (load_run(elsewhere).status, load_run(elsewhere).steps_done) == ("complete", 3)


def test_the_queue_refuses_runs_of_another_arm_and_a_corrupt_record(made):
    with pytest.raises(UsageError, match="whose source is release, but the study asks for stream"):
        run_queue([Study(question="And now?", arms=(replace(FIRST, stream=True),))], made)
    RunFolder(made.run_folder(FIRST, 0)).record.write_text('{"entry": ')
    with pytest.raises(InvalidDataError, match=r"run\.json"):
        run_queue([ALONE], made)


def test_corrupt_predictions_are_made_again(made):
    before = made.predictions(FIRST, 0, "id").read_bytes()
    made.predictions(FIRST, 0, "id").write_bytes(before[:1000])
    assert run_queue([ALONE], made)
    assert is_predicted(FIRST, 0, made)


def test_fresh_images_are_drawn_of_the_release_s_own_spec(settings, tmp_path):
    fresh = replace(FIRST, name="fresh", stream=True)
    assert run_queue([Study(question="Do fresh kernels help?", arms=(FIRST, fresh))], settings)
    found = [load_run(settings.run_folder(arm, 0)).source for arm in (FIRST, fresh)]
    assert [source.kind for source in found] == ["release", "stream"]
    assert found[0].spec_sha256 == found[1].spec_sha256


def test_an_arm_with_equal_hours_gets_those_of_the_other_and_is_then_done(made, monkeypatch, capfd):
    monkeypatch.setattr(cpu_queue, "EQUAL_HOURS", {"other": "first"})
    update_run(made.run_folder(FIRST, 0), seconds=90.0)
    update_run(made.run_folder(OTHER, 0), status="stopped", seconds=30.0)
    run_queue([TOY_STUDY], made)
    (train,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("qpibench train"))
    assert "--max-minutes 1.0" in train
    update_run(made.run_folder(OTHER, 0), status="stopped", seconds=90.5)
    run_queue([TOY_STUDY], made)
    printed = capfd.readouterr()
    assert "qpibench train" not in printed.err
    assert states(made) == {"first-0": "complete", "other-0": "partial"}
    assert "It gets as many hours as first" in printed.out


def test_the_queue_has_the_arms_of_its_studies_in_its_order():
    names = ["two_step-code", "two_step-article", "two_step-code-long", "two_step-code-long-stream"]
    assert [arm.name for arm in arms_of([])][:4] == names
    assert [arm.name for arm in arms_of([STUDIES["symmetry"], STUDIES["two_steps_code"]])] == [
        *("two_step-code", "two_step-article", "one_step-code"),
        "two_step-article-asymmetric",
    ]
    assert set(QUEUE) <= {arm for study in STUDIES.values() for arm in study.arms}
    assert {arm.name for arm in CPU_QUEUE[4:]} == EQUAL_HOURS.keys()


def test_the_arms_have_the_lengths_that_the_recipes_state_and_the_long_first_step_30_000(monkeypatch):
    pytest.importorskip("diffusers")
    monkeypatch.syspath_prepend(locate("baselines"))
    found = lengths_by_entry(CPU_QUEUE, load_spec("paper"), None)
    assert list(found.values()) == [
        {"kernels": 3000, "alignment": 125000},
        {"kernels": 3500, "alignment": 144000},
        {"kernels": 30000, "alignment": 125000},
        {"kernels": 30000, "alignment": 125000},
        {"kernels": 144000},
        {"kernels": 125000},
    ]


def test_the_time_left_follows_the_logs_stage_by_stage(settings):
    lengths = {"kernels": 1000, "alignment": 5000}
    assert StepTimes([(LONG, 0)], settings).seconds_left(LONG, lengths, 0) is None
    log = RunFolder(settings.run_folder(LONG, 0)).log
    log.parent.mkdir(parents=True)
    lines = [("kernels", 1, 9), ("kernels", 101, 109), ("alignment", 10, 1000), ("alignment", 110, 1020)]
    log.write_text("".join(f'{{"stage": "{stage}", "step": {step}, "seconds": {s}}}\n' for stage, step, s in lines))
    pace = StepTimes([(LONG, 0)], settings)
    assert pace.seconds_left(LONG, lengths, 500) == pytest.approx(500 * 1.0 + 5000 * 0.2)
    assert pace.seconds_left(replace(LONG, stream=True), lengths, 2000) == pytest.approx(4000 * 0.2)
    assert pace.seconds_left(ONE_STEP, {"kernels": 10}, 0) > 0


@pytest.mark.parametrize(("length", "known"), [(7, False), (8, True)])
def test_no_hours_are_left_only_where_a_run_is_done(made, monkeypatch, length, known):
    update_run(made.run_folder(FIRST, 0), status="stopped", steps_done=7)
    RunFolder(made.run_folder(FIRST, 0)).log.write_text(
        "".join(f'{{"stage": "mean", "step": {step}, "seconds": {step}}}\n' for step in (1, 7))
    )
    monkeypatch.setattr(cpu_queue, "stage_lengths", lambda *_: {"first": {"mean": length}})
    (row,) = Queue([(FIRST, 0)], made).rows()
    assert row.hours_left == (pytest.approx(1 / 3600, rel=0.1) if known else None)


def test_a_table_says_how_far_each_run_got_and_how_long_the_rest_takes():
    row = Row(
        run="two_step-code-0",
        state="training",
        steps_done=3000,
        steps_budget=128000,
        hours=2.83,
        hours_left=5.4,
        evaluated=False,
        note=None,
    )
    done = replace(row, run="one", state="complete", steps_done=128000, hours_left=0.0)
    assert list(table([row, done])) == [
        "  two_step-code-0  training       3,000 of 128,000 steps, 2.83 h, about 5.4 h left",
        "  one              not evaluated  128,000 of 128,000 steps, 2.83 h",
        "  About 5.4 h left in all.",
    ]
    assert list(table([replace(row, hours_left=0.01)]))[-1] == "  Less than 0.1 h left in all."
    assert list(table([replace(row, hours_left=None)]))[-1] == "  No pace is known yet."


def test_weights_are_exported_within_limits_and_each_that_is_not_has_a_sentence(made):
    runs = [made.run_folder(arm, 0) for arm in (FIRST, OTHER)]
    size = sum(path.stat().st_size for path in exported_files(runs[0]))
    assert choose_runs(runs).kept == tuple(runs)
    few = choose_runs(runs, together=size + 100)
    assert (few.kept, list(few.left_out)) == ((runs[0],), ["other-0"])
    assert re.search(r"of the 0\.0 MB for all runs 0\.0 MB are left\.$", few.left_out["other-0"])
    assert "and a run may take 0.0 MB" in choose_runs(runs, largest=100).left_out["first-0"]
    RunFolder(runs[0]).weights.write_bytes(b"half")
    assert "not those that its run.json describes" in choose_runs(runs).left_out["first-0"]


def test_an_exported_run_is_a_model(made):
    old = Result.model_validate_json(made.result(FIRST, 0).read_text())
    export_runs([made.run_folder(FIRST, 0)], made.output / "weights")
    shutil.rmtree(made.run_folder(FIRST, 0))
    (made.output / "weights" / "first-0").rename(made.run_folder(FIRST, 0))
    made.result(FIRST, 0).unlink()
    run([ALONE], made)
    found = Result.model_validate_json(made.result(FIRST, 0).read_text())
    assert found.cells["ood"].metrics == old.cells["ood"].metrics


@pytest.mark.slow
def test_the_queue_of_the_published_methods_runs_to_its_end_though_it_is_killed(settings, tmp_path):
    pytest.importorskip("diffusers")
    published = tmp_path / "published.toml"
    published.write_text(TRACK.read_text().replace('map = "exact"', 'map = "paper"'))
    source = (
        f"{AT_EASE}\n"
        "from dataclasses import replace\n"
        "from benchmarks import cpu_queue, studies\n"
        f"small = {{arm: replace(arm, preset='tiny', track={str(published)!r}) for arm in cpu_queue.CPU_QUEUE}}\n"
        "cpu_queue.CPU_QUEUE = tuple(small.values())\n"
        "studies.main()\n"
    )
    request = ["--queue", "--release", settings.release, "-o", settings.output, "--steps", 4, "--limit", 2]
    command = [sys.executable, "-c", source, *map(str, request)]
    first = psutil.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (settings.output / "results" / "two_step-code-0.json").exists():
        assert first.poll() is None
        psutil.wait_procs([first], timeout=0.1)
    first.kill()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not any("train two_step" in line and "two_step-code-0" in line for line in done.stderr.splitlines())
    assert list(states(settings)) == [f"{arm.name}-0" for arm in CPU_QUEUE]
    assert set(states(settings).values()) <= {"complete", "partial"}
    streamed = load_run(settings.output / "runs" / "two_step-code-long-stream-0")
    assert (streamed.source.kind, streamed.source.name, streamed.steps_stated) == ("stream", "mini", 3400)
    assert len(list((settings.output / "results").iterdir())) == len(CPU_QUEUE)
    assert len(list((settings.output / "weights").iterdir())) == len(CPU_QUEUE)
