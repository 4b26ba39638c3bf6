"""Interrupted runs lose nothing, leave no partial file under its final name, and leave no process behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

PATIENCE_S = 60
PROGRAM = [sys.executable, "-m", "qpibench.cli.main"]
# Ten blocks of images, of which each takes a good while on one thread.
LONG = ["mini", "--set", "observations_per_kernel=256", "--set", "scatterers.min=299", "--set", "scatterers.max=300"]

ENDINGS = pytest.mark.parametrize(
    "ending",
    [signal.SIGKILL, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGTERM))],
    ids=["SIGKILL", "SIGINT", "SIGTERM"],
)


def _start(*arguments: object, folder: Path) -> psutil.Popen:
    return psutil.Popen(
        [*PROGRAM, *map(str, arguments)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _wait(condition, *, by: psutil.Popen) -> None:
    """Wait until something is so, while the process runs."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert by.poll() is None, by.communicate()
        assert time.monotonic() < deadline
        psutil.wait_procs([by], timeout=0.005)


def _journaled(path: Path) -> bool:
    """Whether a block at least is noted as written."""
    return path.exists() and path.read_bytes().count(b"\n") >= 2


@pytest.fixture(scope="module")
def long_hash(qpibench, tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.h5"
    return qpibench("generate", *LONG, "-o", path, "--json").json["content_sha256"]


@ENDINGS
def test_a_run_that_is_ended_in_the_middle_is_resumed_to_the_same_hash(qpibench, tmp_path, long_hash, ending):
    target, journal, partial = (tmp_path / name for name in ("long.h5", ".long.h5.journal", ".long.h5.partial"))
    process = _start("generate", *LONG, "-o", target, "--threads", 1, folder=tmp_path)
    _wait(lambda: _journaled(journal), by=process)
    process.send_signal(ending)
    _, stderr = process.communicate(timeout=PATIENCE_S)

    if ending == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert stderr.rstrip().endswith("Error: Interrupted; run the same command with --resume added to continue.")
        assert "Traceback" not in stderr
    assert not target.exists()
    for command in ("info", "verify"):
        qpibench(command, partial).fails(3, "interrupted release")
    before = journal.read_bytes()
    qpibench("generate", *LONG, "--set", "seed=1", "-o", target, "--resume").fails(3, "another release")
    assert journal.read_bytes() == before

    resumed = qpibench("generate", *LONG, "-o", target, "--resume", "--json").json
    assert resumed["content_sha256"] == long_hash
    assert [path.name for path in tmp_path.iterdir()] == ["long.h5"]


@pytest.mark.slow
def test_a_run_that_is_killed_before_its_first_image_is_begun_afresh(qpibench, tmp_path, long_hash):
    target, partial = tmp_path / "long.h5", tmp_path / ".long.h5.partial"
    process = _start("generate", *LONG, "-o", target, "--threads", 1, folder=tmp_path)
    _wait(partial.exists, by=process)
    process.kill()
    process.communicate()
    assert not target.exists()
    assert qpibench("info", partial).exit_code == 3
    resumed = qpibench("generate", *LONG, "-o", target, "--resume", "--json").json
    assert resumed["content_sha256"] == long_hash


@pytest.mark.slow
def test_an_existing_release_survives_a_run_that_was_to_replace_it(qpibench, mini, tmp_path, long_hash):
    target = tmp_path / "long.h5"
    target.write_bytes(mini.read_bytes())
    process = _start("generate", *LONG, "-o", target, "--overwrite", "--threads", 1, folder=tmp_path)
    _wait(lambda: _journaled(tmp_path / ".long.h5.journal"), by=process)
    process.kill()
    process.communicate()
    assert target.read_bytes() == mini.read_bytes()
    resumed = qpibench("generate", *LONG, "-o", target, "--overwrite", "--resume", "--json").json
    assert resumed["content_sha256"] == long_hash


def test_two_runs_do_not_write_the_same_file(qpibench, tmp_path):
    target = tmp_path / "long.h5"
    process = _start("generate", *LONG, "-o", target, "--threads", 1, folder=tmp_path)
    _wait(lambda: _journaled(tmp_path / ".long.h5.journal"), by=process)
    qpibench("generate", *LONG, "-o", target, "--resume").fails(1, "Another process is writing", "long.h5")
    process.kill()
    process.communicate()


HANGING = """
import os

def predict(batch):
    with open({told!r} + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename({told!r} + ".new", {told!r})
    while True:
        pass
"""


@ENDINGS
def test_no_model_outlives_the_command_that_runs_it(mini, tmp_path, write_model, monkeypatch, ending):
    told, temporary = tmp_path / "told", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    model = write_model(HANGING.format(told=str(told)))
    process = _start("evaluate", model, "--release", mini, "-o", "result.json", folder=tmp_path)
    _wait(told.exists, by=process)
    started = process.children(recursive=True)
    assert int(told.read_text()) in [each.pid for each in started]
    process.send_signal(ending)
    _, stderr = process.communicate(timeout=PATIENCE_S)

    _, alive = psutil.wait_procs(started, timeout=PATIENCE_S)
    for survivor in alive:
        survivor.kill()
    assert alive == []
    assert not (tmp_path / "result.json").exists()
    if ending != signal.SIGKILL:
        assert process.returncode == 130
        assert stderr.strip() == "Error: Interrupted."
    assert list(temporary.iterdir()) == []


FILES = {
    "generate": "mini -o {out}",
    "predict": "zeros --release {mini} -o {out}",
    "score": "{predictions} --release {mini} -o {out}",
    "evaluate": "zeros --release {mini} --limit 4 -o {out}",
    "export-csv": "{mini} --kernel 0 -o {out}",
    "import": "{csv} -o {out}",
}


@pytest.mark.parametrize("command", FILES)
@pytest.mark.parametrize("existing", [False, True], ids=["new file", "existing file"])
def test_a_full_disk(qpibench, mini, predictions, tmp_path, unchanged, full_disk, command, existing):
    out, csv = tmp_path / "out", tmp_path / "kernel.csv"
    qpibench("export-csv", mini, "--kernel", 0, "-o", csv)
    options = []
    if existing:
        out.write_text("precious")
        options = ["--overwrite"] if command in ("generate", "export-csv", "import") else []
    places = {"out": out, "csv": csv, "mini": mini, "predictions": predictions}
    arguments = [part.format(**places) for part in FILES[command].split()]
    with unchanged(), full_disk(500):
        outcome = qpibench(command, *arguments, *options)
    outcome.fails(1, "File too large")

    if not existing:
        again = qpibench(command, *arguments, *(["--resume"] if command == "generate" else []))
        assert again.exit_code == 0, again.stderr


def test_a_model_that_does_not_fit_on_the_disk(qpibench, tmp_path, unchanged, full_disk):
    with unchanged(), full_disk(500):
        qpibench("new", tmp_path / "my_model.py").fails(1, "my_model.py", "File too large")


def test_a_report_that_does_not_fit(qpibench, mini, one_prediction, tmp_path, full_disk):
    report = tmp_path / "report.html"
    with full_disk(1 << 16):
        outcome = qpibench("score", one_prediction, "--release", mini, "-o", tmp_path / "r.json", "--report", report)
    outcome.fails(1, "report.html", "File too large")
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_standard_output_that_cannot_be_written(mini):
    with open("/dev/full", "w", encoding="utf-8") as full:
        ended = subprocess.run([*PROGRAM, "info", mini], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "Error: Standard output cannot be written: No space left on device.\n"


def test_a_reader_that_goes_away_is_no_error(mini):
    process = subprocess.Popen([*PROGRAM, "info", mini], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141
