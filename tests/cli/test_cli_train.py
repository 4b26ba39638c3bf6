"""``qpibench train`` writes a run folder that is a model, and reports every failure in one sentence."""

from __future__ import annotations

import json
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from qpibench.locator import locate

PATIENCE_S = 60
TOY = Path(__file__).parents[1] / "training" / "toy.py"


@pytest.fixture
def toy(tmp_path):
    """The file of an entry that is trained in no time, without torch."""
    path = tmp_path / "models" / "toy.py"
    path.parent.mkdir()
    shutil.copyfile(TOY, path)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, qpibench, mini) -> Path:
    """A folder with the toy and its run on `mini`, three of a hundred steps; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copyfile(TOY, folder / "toy.py")
    outcome = qpibench("train", folder / "toy.py", "--release", mini, "--steps", 3, "-o", folder / "run")
    assert outcome.exit_code == 0, outcome.stderr
    return folder


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    """A copy of that run, beside its entry."""
    shutil.copytree(trained, tmp_path / "trained")
    return tmp_path / "trained" / "run"


@pytest.fixture
def without_package(tmp_path, monkeypatch):
    """Make a package one that is not installed, for all processes that are started."""

    def hide(name):
        place = tmp_path / "site"
        place.mkdir()
        (place / "sitecustomize.py").write_text(f"import sys\nsys.modules[{name!r}] = None\n")
        monkeypatch.setenv("PYTHONPATH", str(place))

    return hide


def test_training_ends_with_a_run_that_says_what_it_is(qpibench, toy, tmp_path):
    run = tmp_path / "runs" / "first"
    options = ["--recipe", "fancy", "--set", "alpha=0", "--seed", 4]
    answer = qpibench("train", toy, "--stream", "mini", *options, "-o", run, "--json").json
    record = json.loads((run / "run.json").read_text())
    assert answer == record | {"schema_version": 2, "path": str(run), "fraction": 1.0}
    assert (answer["entry"], answer["seed"], answer["options"]) == ("toy", 4, {"alpha": 0})
    assert (answer["source"]["kind"], answer["source"]["name"], answer["status"]) == ("stream", "mini", "complete")
    answer = qpibench("train", toy, "--stream", "mini", "--steps", 5, "-o", tmp_path / "second")
    assert answer.stdout.splitlines() == [
        f"{tmp_path / 'second'}: toy, 5 of 100 stated steps in 0.00 h, ended by --steps 5",
        "best validation error 0.25 at step 5 of mean",
    ]


def test_a_run_folder_is_a_model_and_the_board_says_how_far_it_came(qpibench, trained, mini, tmp_path):
    run, results, answers = trained / "run", tmp_path / "results", tmp_path / "predictions.h5"
    results.mkdir()
    request = ["--release", mini, "--limit", 4, "--predictions", answers, "-o", results / "toy.json"]
    result = qpibench("evaluate", run, *request, "--json").json
    record = json.loads((run / "run.json").read_text())
    assert "warnings" not in result
    model = result["model"]
    assert model["name"] == "toy (plain, small, seed 0)"
    assert model["weights"] == {"weights.safetensors": record["weights_sha256"]}
    assert model["file_sha256"] == record["entry_sha256"]
    training = model["training"]
    assert (training["steps_done"], training["steps_stated"], training["fraction"]) == (3, 100, 0.03)
    assert (training["recipe"], training["preset"], training["seed"]) == ("plain", "small", 0)
    assert (training["source"], training["hardware"]) == (record["source"], record["hardware"])
    assert training["hours"] == pytest.approx(1.5 / 3600)

    checked = qpibench("leaderboard", "check", results / "toy.json", "--predictions", answers, "--release", mini)
    assert checked.exit_code == 0, checked.stderr
    assert qpibench("leaderboard", "build", results, "-o", tmp_path / "site").exit_code == 0
    page = " ".join((tmp_path / "site" / "index.html").read_text().split())
    assert re.search(r'<span class="mark partial"[^>]*>partial 3 %</span>', page)
    assert "3 of 100 steps" in page
    board = json.loads((tmp_path / "site" / "leaderboard.json").read_text())
    standings = [standing for table in board["tables"] for standing in table["standings"]]
    assert standings
    for standing in standings:
        assert "partial" in standing["marks"]
        assert standing["training"] == training


@pytest.mark.slow
def test_the_network_of_the_documentation_is_trained_resumed_and_evaluated(qpibench, mini, tmp_path):
    pytest.importorskip("torch")
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (tmp_path / "my_net.py").write_text(page.split("```python\n")[1].split("```")[0])
    request = ["train", tmp_path / "my_net.py", "--release", mini, "-o", tmp_path / "run"]
    assert qpibench(*request, "--steps", 5, "--max-minutes", 1e-9, "--json").json["status"] == "stopped"
    resumed = qpibench(*request, "--steps", 5, "--resume", "--json").json
    assert (resumed["status"], resumed["steps_done"]) == ("complete", 5)
    evaluated = ["evaluate", tmp_path / "run", "--release", mini, "--map", "paper", "--limit", 4]
    assert qpibench(*evaluated, "-o", tmp_path / "result.json").exit_code == 0
    streamed = qpibench("train", tmp_path / "my_net.py", "--stream", "mini", "-o", tmp_path / "other")
    streamed.fails(2, "my_net learns from a release, not from a stream; give --release.")


def test_a_run_that_steps_ended_says_so(qpibench, toy, mini, tmp_path):
    request = ["train", toy, "--release", mini]
    ended = qpibench(*request, "--steps", 3, "-o", tmp_path / "run").stdout
    assert ended.startswith(f"{tmp_path / 'run'}: toy, 3 of 100 stated steps in 0.00 h, ended by --steps 3\n")
    assert "100 of 100 steps in 0.00 h, complete" in qpibench(*request, "-o", tmp_path / "whole").stdout


def test_the_scores_of_a_run_that_is_not_whole_are_printed_with_its_steps(qpibench, trained, mini, tmp_path):
    request = ["--release", mini, "--limit", 1, "-o", tmp_path / "r.json"]
    printed = qpibench("evaluate", trained / "run", *request).stdout
    assert printed.endswith("\npartly trained: 3 of 100 steps\n")


def test_a_run_folder_can_be_checked(qpibench, trained):
    assert qpibench("check", trained / "run").exit_code == 0


def test_a_model_that_is_shown_other_maps_than_it_learned_from_is_warned_of(qpibench, trained, mini, tmp_path):
    request = ["--release", mini, "--limit", 1, "-o", tmp_path / "predictions.h5"]
    sentence = "The model was trained with exact maps, but is shown paper ones; use --map exact."
    # Shown positions without a map, a model makes its own; shown the image, it has none.
    for view in ("positions", "image"):
        assert qpibench("predict", trained / "run", *request, "--view", view).stderr == ""
    shown = qpibench("predict", trained / "run", *request, "--view", "positions", "--map", "paper")
    assert shown.stderr == f"Warning: {sentence}\n"
    raster = tmp_path / "raster"
    raster.mkdir()
    source = (trained / "toy.py").read_text().replace('needs = "image"', 'needs = "raster"')
    (raster / "toy.py").write_text(source)
    shutil.copytree(trained / "run", raster / "run")
    outcome = qpibench("predict", raster / "run", *request, "--view", "raster", "--map", "paper")
    assert outcome.exit_code == 0
    assert f"Warning: {sentence}" in outcome.stderr
    assert "toy.py' has changed since its weights were trained" in outcome.stderr
    assert sentence not in qpibench("predict", raster / "run", *request, "--view", "raster", "--map", "exact").stderr


def test_a_model_whose_own_modules_changed_since_training_is_warned_of(qpibench, copied, mini, tmp_path):
    record = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(record | {"code_sha256": "0" * 64}))
    outcome = qpibench("predict", copied, "--release", mini, "--limit", 1, "-o", tmp_path / "predictions.h5")
    assert outcome.exit_code == 0
    assert "Warning: A module that " in outcome.stderr
    assert "toy.py' imports has changed since its weights were trained" in outcome.stderr


def test_an_entry_with_kept_weights_is_run_with_them(qpibench, copied, mini, tmp_path):
    request = ["--release", mini, "--limit", 1, "-o", tmp_path / "predictions.h5", "--json"]
    entry = copied.parent / "toy.py"
    qpibench("predict", entry, *request).fails(3, "toy.py: class 'Model' has arguments", "name its run folder")
    kept = copied.parent / "weights" / "toy"
    shutil.copytree(copied, kept)
    model = qpibench("predict", entry, *request).json["model"]
    assert model["name"] == "toy (plain, small, seed 0)"
    assert list(model["weights"]) == ["weights.safetensors"]
    assert model["training"]["steps_done"] == 3


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_model_is_not_written_over(qpibench, copied, mini, command):
    for name in ("run.json", "weights.safetensors"):
        qpibench(command, copied, "--release", mini, "-o", copied / name).fails(2, "would be written over")


def _write(name, content):
    return lambda run: (run / name).write_bytes(content)


def _change(**fields):
    def change(run):
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(record | fields))

    return change


@pytest.mark.parametrize(
    ("damage", "exit_code", "words"),
    [
        (lambda run: (run / "run.json").unlink(), 2, ["is a folder", "run.json", "qpibench train"]),
        (_write("run.json", b'{"entry": '), 3, ["run.json' does not describe a training run", "not valid JSON"]),
        (_write("run.json", b'{"schema_version": 1, "name": "foreign"}'), 3, ["does not describe a training run"]),
        (_change(entry_file=None, entry="unknown"), 3, ["run.json' is of the entry 'unknown', which is not here"]),
        (_change(entry_file="../moved.py"), 3, ["is of the entry 'toy', which is not here", "moved.py"]),
        (lambda run: (run / "weights.safetensors").unlink(), 3, ["no weights.safetensors", "3 of 100", "--resume"]),
        (_write("weights.safetensors", b"others"), 3, ["not the file that its run.json describes"]),
    ],
    ids=["no run.json", "corrupt", "foreign", "unknown entry", "moved entry", "no weights", "other weights"],
)
def test_a_damaged_run_folder(qpibench, copied, mini, tmp_path, damage, exit_code, words):
    damage(copied)
    outcome = qpibench("evaluate", copied, "--release", mini, "--limit", 1, "-o", tmp_path / "result.json")
    outcome.fails(exit_code, *words)
    assert not (tmp_path / "result.json").exists()


def test_weights_that_were_written_just_before_a_run_was_killed_are_used(qpibench, copied, mini, tmp_path):
    _change(status="running", weights_sha256="0" * 64)(copied)
    request = ["--release", mini, "--limit", 1, "-o", tmp_path / "predictions.h5", "--json"]
    assert qpibench("predict", copied, *request).json["model"]["weights"] != {"weights.safetensors": "0" * 64}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["{toy}"], 2, ["one source of images", "--release RELEASE or --stream SPEC"]),
        (["{toy}", "--release", "{mini}", "--stream", "mini"], 2, ["one source of images"]),
        (["{toy}", "--release", "missing.h5"], 2, ["missing.h5"]),
        (["{toy}", "--release", "{toy}"], 3, ["toy.py"]),
        (["{toy}", "--stream", "minni"], 2, ["did you mean 'mini'?"]),
        (["{toy}", "--stream", "mini", "--set", "alpha"], 2, ["'alpha' is not of the form name=value"]),
        (["{toy}", "--stream", "mini", "--max-minutes", "0"], 2, ["larger than 0 s"]),
        (["{toy}", "--stream", "mini", "--processes", "0"], 2, ["processes must be 1 or more"]),
        (["nowhere.py", "--stream", "mini"], 2, ["nowhere.py"]),
        (["{run}", "--stream", "mini"], 2, ["is a folder"]),
        (["tikhonov", "--stream", "mini"], 3, ["'tikhonov' cannot be trained: tikhonov.py defines no function train"]),
        (["{toy}", "--stream", "mini", "--set", "fail=raise"], 1, ["toy.py:", "ValueError: the toy is broken"]),
        (["{toy}", "--stream", "mini", "--set", "fail=refuse"], 3, ["The toy has no wheels; give it some."]),
        (["{toy}", "--stream", "mini", "--set", "fail=kill"], 1, ["killed by signal SIGKILL", "--resume"]),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("as_json", [[], pytest.param(["--json"], marks=pytest.mark.slow)], ids=["text", "json"])
def test_what_cannot_be_trained(qpibench, toy, mini, trained, tmp_path, arguments, exit_code, words, as_json):
    given = [part.format(toy=toy, mini=mini, run=trained / "run") for part in arguments]
    qpibench("train", *given, "-o", tmp_path / "run", *as_json).fails(exit_code, *words)


def test_a_file_without_train_is_told_what_to_write(qpibench, write_model, tmp_path):
    for source in ("def predict(batch): ...", "def train(run, more): ..."):
        outcome = qpibench("train", write_model(source), "--stream", "mini", "-o", tmp_path / "run")
        outcome.fails(3, "my_model.py", "train(run)")
    assert not (tmp_path / "run").exists()


def test_a_train_that_begins_no_run_is_told_to(qpibench, write_model, tmp_path):
    model = write_model("def train(run): print('done')")
    qpibench("train", model, "--stream", "mini", "-o", tmp_path / "run").fails(3, "left no run.json", "begin_run")


def test_a_missing_package_is_named_with_the_extra_that_has_it(qpibench, toy, tmp_path, without_package):
    without_package("tensorboard")
    outcome = qpibench("train", toy, "--stream", "mini", "--set", "fail=import", "-o", tmp_path / "run")
    outcome.fails(4, "'toy' needs the package tensorboard", 'pip install "qpibench[training]"')


def test_a_trained_model_without_its_package_is_told_which(qpibench, copied, mini, tmp_path, without_package):
    without_package("safetensors")
    outcome = qpibench("predict", copied, "--release", mini, "-o", tmp_path / "predictions.h5")
    outcome.fails(4, "toy.py needs the package safetensors", 'pip install "qpibench[training]"')


@pytest.mark.slow
def test_a_missing_package_of_the_learned_entries_is_named_in_the_same_sentence(qpibench, tmp_path, without_package):
    pytest.importorskip("torch")
    without_package("diffusers")
    outcome = qpibench("train", "two_step", "--stream", "mini", "-o", tmp_path / "run")
    outcome.fails(
        4, "'two_step' needs the package diffusers, which is not installed", 'pip install "qpibench[training]"'
    )


def test_a_missing_package_of_the_entrys_own_is_the_entrys_error(qpibench, toy, tmp_path, without_package):
    without_package("another_package")
    toy.write_text("import another_package\n" + toy.read_text())
    outcome = qpibench("train", toy, "--stream", "mini", "-o", tmp_path / "run")
    outcome.fails(1, "toy.py:1: ModuleNotFoundError", "another_package")


@pytest.mark.slow
def test_a_folder_that_holds_a_run_is_only_continued_and_only_with_the_same_request(qpibench, copied, mini):
    request = ["train", copied.parent / "toy.py", "--release", mini, "-o", copied]
    before = (copied / "run.json").read_bytes()
    qpibench(*request).fails(2, "holds a run already; use --resume")
    changed = qpibench(*request, "--resume", "--recipe", "other", "--seed", 1)
    changed.fails(2, "config.recipe.name was 'plain' and is 'other'; seed was 0 and is 1")
    assert (copied / "run.json").read_bytes() == before
    qpibench(*request, "--resume").fails(
        2, "holds a run that --steps 3 ended; it is complete, and --resume cannot make it a run of 100 steps; for that,"
    )
    _change(status="stopped")(copied)
    answer = qpibench(*request, "--resume", "--steps", 8, "--json").json
    assert (answer["steps_done"], answer["seconds"]) == (8, 3.0)


@pytest.mark.parametrize("options", [[], ["--resume"]])
def test_a_run_without_its_record_is_neither_continued_nor_written_over(qpibench, copied, mini, unchanged, options):
    (copied / "run.json").unlink()
    with unchanged():
        outcome = qpibench("train", copied.parent / "toy.py", "--release", mini, "-o", copied, *options)
    outcome.fails(2, "holds weights.safetensors of a run, but no run.json; restore that file, or use another folder.")


def test_resuming_a_run_of_another_recipe_or_entry_says_only_that(qpibench, copied, mini):
    _change(status="stopped", config={"recipe": {"name": "old", "depth": 3}, "preset": "small", "map_mode": "exact"})(
        copied
    )
    request = ["--release", mini, "-o", copied, "--resume"]
    asked = "which cannot be continued with what is asked"
    qpibench("train", copied.parent / "toy.py", *request).fails(
        2, f"{asked}: config.recipe.name was 'old' and is 'plain'; ask for the same"
    )
    (copied.parent / "toy.py").rename(copied.parent / "other.py")
    qpibench("train", copied.parent / "other.py", *request).fails(
        2, f"{asked}: entry was 'toy' and is 'other'; ask for the same"
    )


def _wait(condition, *, by):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert by.poll() is None, by.communicate()
        assert time.monotonic() < deadline
        psutil.wait_procs([by], timeout=0.01)


@pytest.mark.parametrize(
    ("ending", "in_background"),
    [
        (signal.SIGTERM, False),
        *(pytest.param(each, False, marks=pytest.mark.slow) for each in (signal.SIGKILL, signal.SIGINT, signal.SIGHUP)),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.slow),
    ],
    ids=["SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGTERM in the background"],
)
def test_training_that_is_ended_leaves_no_process_and_is_continued(qpibench, toy, tmp_path, ending, in_background):
    if signal.getsignal(ending) is signal.SIG_IGN:  # as nohup starts a program, which then ignores SIGHUP too
        pytest.skip(f"{ending.name} is ignored by what started the tests")
    told, run = tmp_path / "told", tmp_path / "run"
    request = [toy, "--stream", "mini", "--steps", 20, "-o", run]
    command = [sys.executable, "-m", "qpibench.cli.main", "train", *map(str, request), "--set", f"wait={told}"]
    if in_background:  # as a shell starts `nohup qpibench train ... &`
        command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait(told.exists, by=process)
    worker = psutil.Process(int(told.read_text()))
    process.send_signal(ending)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    _, alive = psutil.wait_procs([worker], timeout=PATIENCE_S)
    for survivor in alive:
        survivor.kill()
    assert alive == []

    status = json.loads((run / "run.json").read_text())["status"]
    if ending == signal.SIGKILL:
        assert status == "running"
    else:
        assert (process.returncode, status) == (130, "stopped")
        sentence = "Interrupted after 7 of 20 steps; run the same command with --resume added to continue."
        assert stderr.strip() == f"Error: {sentence}"
    assert qpibench("train", *request, "--resume", "--json").json["status"] == "complete"


def test_two_processes_do_not_train_in_the_same_folder(qpibench, toy, tmp_path):
    told, run = tmp_path / "told", tmp_path / "run"
    request = [toy, "--stream", "mini", "--steps", 20, "-o", run]
    command = [sys.executable, "-m", "qpibench.cli.main", "train", *map(str, request), "--set", f"wait={told}"]
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait(told.exists, by=process)
    before = (run / "run.json").read_bytes()
    qpibench("train", *request, "--resume").fails(1, "Another process is training in", str(run))
    assert (run / "run.json").read_bytes() == before
    process.kill()
    process.communicate()
    assert qpibench("train", *request, "--resume", "--json").json["status"] == "complete"


SEVERAL = """
import os, signal
from pathlib import Path
from qpibench.training import SourceRecord, begin_run, update_run

def train(run):
    rank = os.environ["RANK"]
    if rank == "0":
        source = SourceRecord(kind="stream", name="mini", spec_sha256="a" * 64, content_sha256=None)
        begin_run(run, config={"n": int(os.environ["WORLD_SIZE"])}, source=source, steps_stated=9, steps_budget=9)
    if run.options.get("fail"):
        raise ValueError("all of us")
    told = Path(run.options["told"] + rank)
    told.with_suffix(".new").write_text(str(os.getpid()))
    told.with_suffix(".new").rename(told)
    try:
        signal.pause()
    except KeyboardInterrupt:
        if rank == "0":
            update_run(run.folder, status="stopped", steps_done=4)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT], ids=lambda ending: ending.name)
def test_several_processes_end_together(write_model, tmp_path, ending):
    pytest.importorskip("torch")
    told, run = tmp_path / "told", tmp_path / "run"
    request = ["train", write_model(SEVERAL), "--stream", "mini", "--processes", 2, "-o", run, "--set", f"told={told}"]
    process = psutil.Popen(
        [sys.executable, "-m", "qpibench.cli.main", *map(str, request)], stderr=subprocess.PIPE, text=True
    )
    places = [Path(f"{told}{rank}") for rank in range(2)]
    _wait(lambda: all(place.exists() for place in places), by=process)
    workers = [psutil.Process(int(place.read_text())) for place in places]
    process.send_signal(ending)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_S)
    for survivor in alive:
        survivor.kill()
    assert alive == []
    record = json.loads((run / "run.json").read_text())
    assert record["config"] == {"n": 2}
    if ending == signal.SIGINT:
        assert (process.returncode, record["status"]) == (130, "stopped")
        sentence = "Interrupted after 4 of 9 steps; run the same command with --resume added to continue."
        assert stderr.strip() == f"Error: {sentence}"


@pytest.mark.slow
def test_the_first_of_several_processes_to_fail_is_heard(write_model, tmp_path):
    pytest.importorskip("torch")
    request = ["--stream", "mini", "--processes", 2, "--set", "fail=true", "-o", tmp_path / "run"]
    command = [sys.executable, "-m", "qpibench.cli.main", "train", write_model(SEVERAL), *map(str, request)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert re.fullmatch(r"Error: Training 'my_model' failed: my_model.py:\d+: ValueError: all of us.\n", ended.stderr)


def test_a_process_that_is_told_to_end_while_it_fails_ends_without_a_traceback(write_model, tmp_path):
    failing = """
import os, signal

class Fails(Exception):
    def __str__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return "and is told to end"

def train(run):
    raise Fails
"""
    request = ["train", write_model(failing), "--stream", "mini", "-o", tmp_path / "run"]
    ended = subprocess.run(
        [sys.executable, "-m", "qpibench.cli.main", *map(str, request)], capture_output=True, text=True, check=False
    )
    assert ended.stderr.startswith("Error: Training 'my_model' stopped: its process ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_what_training_prints_is_apart_from_the_answer(toy, tmp_path):
    toy.write_text(toy.read_text() + "\nprint('hello from the entry')\n")
    command = [sys.executable, "-m", "qpibench.cli.main", "train", toy, "--stream", "mini", "--json", "-o"]
    loud = subprocess.run([*command, tmp_path / "loud"], capture_output=True, text=True, check=True)
    assert json.loads(loud.stdout)["status"] == "complete"
    assert loud.stderr == "hello from the entry\n"
    quiet = subprocess.run([*command, tmp_path / "quiet", "--quiet"], capture_output=True, text=True, check=True)
    assert quiet.stderr == ""


def test_the_package_trains_without_importing_torch():
    modules = ("request", "run_folder", "start", "worker", "curves")
    imports = "".join(f"import qpibench.training.{name}\n" for name in modules)
    source = f"{imports}import sys\nprint('torch' in sys.modules, 'matplotlib' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert ended.stdout == "False False\n"


def test_the_schema_of_a_run_is_printed(qpibench):
    assert qpibench("schema", "run").json["title"] == "RunRecord"


LAUNCHED = {
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "192.0.2.1",
    "MASTER_PORT": "29500",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_MIXED_PRECISION": "fp16",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
}
"""Variables that a job of a cluster may find in its environment; no host has that address."""


@pytest.fixture(scope="module")
def train_tiny(qpibench, mini, tmp_path_factory):
    """Train one_step of the preset tiny for three steps; return the folder and what the command said."""
    pytest.importorskip("diffusers")

    def train(*options):
        run = tmp_path_factory.mktemp("tiny") / "run"
        given = ["--release", mini, "--preset", "tiny", "--precision", "no", "--steps", 3, *options]
        outcome = qpibench("train", "one_step", *given, "-o", run)
        assert outcome.exit_code == 0, outcome.stderr
        return run, outcome

    return train


@pytest.fixture(scope="module")
def trained_tiny(train_tiny) -> Path:
    """The folder of such a run, not to be changed."""
    return train_tiny()[0]


@pytest.mark.slow
def test_a_run_folder_with_the_recipe_of_another_entry_is_one_sentence(trained_tiny, qpibench, mini, tmp_path):
    run = shutil.copytree(trained_tiny, tmp_path / "run")
    config = json.loads((run / "run.json").read_text())["config"]
    _change(config=config | {"recipe": {"name": "published"}})(run)
    outcome = qpibench("evaluate", run, "--release", mini, "--limit", 1, "-o", tmp_path / "result.json")
    outcome.fails(3, "run.json' does not describe a training of one_step: in its config, field 'recipe")
    assert "pydantic" not in outcome.error


@pytest.mark.slow
def test_variables_of_launchers_and_of_accelerate_change_nothing_and_are_recorded(
    train_tiny, trained_tiny, monkeypatch
):
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    run, outcome = train_tiny()
    assert (run / "weights.safetensors").read_bytes() == (trained_tiny / "weights.safetensors").read_bytes()
    record = json.loads((run / "run.json").read_text())
    assert record["ignored_variables"] == sorted(LAUNCHED)
    assert f"Environment variables that training does not use: {', '.join(sorted(LAUNCHED))}." in outcome.stderr


def test_variables_that_may_change_the_last_bits_are_recorded(qpibench, toy, tmp_path, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setenv("PYTORCH_KERNEL_CACHE_PATH", "/somewhere")
    answer = qpibench("train", toy, "--stream", "mini", "-o", tmp_path / "run", "--json").json
    assert answer["variables"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert "PYTORCH_KERNEL_CACHE_PATH" not in answer["variables"]
    assert answer["ignored_variables"] == []


def _tunables(answer):
    return dict(text.split("=") for text in answer["variables"]["GLIBC_TUNABLES"].split(":"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_the_allocator_is_set_for_training_unless_the_user_has_set_it(qpibench, toy, tmp_path, monkeypatch):
    request = ["train", toy, "--stream", "mini", "--json", "-o"]
    own = _tunables(qpibench(*request, tmp_path / "own").json)
    assert own["glibc.malloc.mmap_threshold"] == str(2**30)
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536:glibc.malloc.check=0")
    monkeypatch.setenv("MALLOC_TOP_PAD_", "4096")
    given = _tunables(qpibench(*request, tmp_path / "given").json)
    del own["glibc.malloc.top_pad"]
    assert given == own | {"glibc.malloc.mmap_threshold": "65536", "glibc.malloc.check": "0"}


def _losses(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line.get("loss", line.get("validation")) for line in lines]


@pytest.mark.slow
def test_losses_of_a_compiled_run_are_those_of_pytorch_and_a_resumed_run_compiles_them(
    train_tiny, trained_tiny, qpibench, mini
):
    run, _ = train_tiny("--compile", "--max-minutes", "1e-9")
    request = ["train", "one_step", "--release", mini, "--preset", "tiny", "--precision", "no", "--steps", 3]
    answer = qpibench(*request, "-o", run, "--resume", "--json").json
    assert (answer["status"], answer["config"]["compile"]) == ("complete", True)
    # A PyTorch whose compiled gradients are wrong is noticed.
    assert re.match(r"torch.compile($|; not stage 'kernels': gradients)", answer["numerics"]["compile"])
    assert _losses(run) == pytest.approx(_losses(trained_tiny), rel=1e-3)


@pytest.mark.slow
def test_without_a_compiler_training_says_so_and_has_the_losses_of_pytorch(
    train_tiny, trained_tiny, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("CXX", str(tmp_path / "missing"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    run, _ = train_tiny("--compile")
    assert "trains without torch.compile, more slowly: InvalidCxxCompiler: No working" in capfd.readouterr().err
    record = json.loads((run / "run.json").read_text())
    assert record["numerics"]["compile"].startswith("torch.compile; not stage 'kernels': InvalidCxxCompiler")
    assert _losses(run) == _losses(trained_tiny)


@pytest.mark.slow
def test_several_processes_are_those_that_were_asked_for(qpibench, write_model, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    source = SEVERAL.replace("    signal.pause()", "    return")
    request = ["--stream", "mini", "--processes", 2, "--set", f"told={tmp_path / 'told'}", "-o", tmp_path / "run"]
    record = qpibench("train", write_model(source), *request, "--json").json
    assert record["config"] == {"n": 2}
    assert record["ignored_variables"] == sorted(LAUNCHED)


def _started(entry, run, told, *, preparation=""):
    """Start `qpibench train` of an entry's file, and wait until it has made the file `told`."""
    source = f"{preparation}\nfrom qpibench.cli.main import main\nmain()"
    request = [entry, "--stream", "mini", "--preset", "tiny", "--precision", "no", "--steps", 4, "-o", run]
    command = [sys.executable, "-c", source, "train", *map(str, request)]
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait(told.exists, by=process)
    return process


TOLD = """
import signal, sys
from pathlib import Path
sys.path.insert(0, {baselines!r})

def tell():
    Path({told!r}).touch()
"""

WAITS_FOR_OTHERS = """
def wait_for_another_process(*_):
    from torch.distributed import TCPStore
    tell()
    TCPStore("127.0.0.1", 0, world_size=2, is_master=True, wait_for_workers=True)
"""

STOPPED = {
    "while it waits for other processes": """
import one_step
from learned import loop
loop.make_accelerator = wait_for_another_process
train = one_step.train
""",
    "while it is imported": "wait_for_another_process()",
    "during a validation": """
import one_step
def score_once(net, batch, scaled_error=one_step.scaled_error):
    assert not Path(TOLD).exists(), "another part was scored"
    tell()
    signal.pause()
    return scaled_error(net, batch)
one_step.scaled_error = score_once
train, Model = one_step.train, one_step.Model
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", STOPPED)
def test_training_is_stopped_at_once(write_model, tmp_path, moment):
    pytest.importorskip("diffusers")
    told, run = tmp_path / "told", tmp_path / "run"
    start = TOLD.format(baselines=str(locate("baselines")), told=str(told)) + f"TOLD = {str(told)!r}\n"
    process = _started(write_model(start + WAITS_FOR_OTHERS + STOPPED[moment]), run, told)
    process.terminate()
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "killed" not in stderr
    assert "Traceback" not in stderr
    if moment == "during a validation":
        assert "Interrupted after 4 of" in stderr
        assert (run / "checkpoint.safetensors").exists()


def test_training_that_does_not_stop_in_time_is_killed_and_its_checkpoint_is_named(write_model, tmp_path):
    told = tmp_path / "told"
    source = TOY.read_text().replace("stopped = True", "signal.pause()").replace("steps_done=7", "steps_done=3")
    source = source.replace('told := run.options.get("wait")', f"told := {str(told)!r}")
    soon = "import qpibench.training.start as start; start.STOP_S = 0.1"
    process = _started(write_model(source), tmp_path / "run", told, preparation=soon)
    process.terminate()
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Interrupted after 3 of 4 steps (the last checkpoint; training did not stop within 0.1 s" in stderr


@pytest.mark.slow
def test_a_second_sigterm_does_not_interrupt_the_saving(qpibench, write_model, tmp_path):
    """A batch system sends the signal to every process of a job, so the worker gets its parent's too."""
    told, run = tmp_path / "told", tmp_path / "run"
    source = TOY.read_text().replace(
        "stopped = True", "stopped = True\n            signal.raise_signal(signal.SIGTERM)"
    )
    source = source.replace('told := run.options.get("wait")', f"told := {str(told)!r}")
    process = _started(write_model(source), run, told)
    process.terminate()
    assert process.wait(PATIENCE_S) == 130
    assert json.loads((run / "run.json").read_text())["status"] == "stopped"
