"""``qpibench train --launched`` trains in processes that Accelerate's launcher has started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qpibench.locator import locate
from qpibench.release.lock import lock

TOY = Path(__file__).parents[1] / "training" / "toy.py"

CONFIGURATION = """
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU  # also on CPUs: Accelerate's MULTI_CPU needs MPI
use_cpu: true
mixed_precision: 'no'
num_processes: 2
num_machines: {machines}
machine_rank: {rank}
main_process_ip: 127.0.0.1
main_process_port: {port}
"""

WITHOUT_DRAWS = f"""
import sys
sys.path.insert(0, {str(locate("baselines"))!r})
import torch
from learned.loop import Stage, fit
from learned.source import open_source


class Loss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(2, 1, 5, padding=2)

    def difference(self, batch):
        channels = torch.stack([batch["image"], batch["activation_map"]], dim=1)
        return self.layer(channels)[:, 0] - batch["kernel"]

    def forward(self, batch):
        return {{"loss": self.difference(batch).square().mean()}}


def train(run):
    source = open_source(run, fields=("image", "activation_map", "kernel"), map_mode="paper", batch_size=8)
    torch.manual_seed(run.seed)
    net = Loss()

    def stage():
        score = lambda batch: net.difference(batch).abs().mean(dim=(1, 2))
        return Stage(
            name="all", module=net, score=score, source=source, steps=9, budget=9, learning_rate=1e-2, validate_every=4
        )

    fit(
        run, config={{"recipe": {{"name": "plain"}}}}, net=net, stages=[stage], source_record=source.record,
        steps_stated=9, export=net.state_dict, half=False,
    )
"""


def _launched(*request, **variables):
    """Start the command as a launcher does, with its variables."""
    return subprocess.run(
        [sys.executable, "-m", "qpibench", "train", *map(str, request), "--launched"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_launcher_it_is_refused(qpibench, monkeypatch, tmp_path):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    request = ["train", TOY, "--stream", "mini", "-o", tmp_path / "run", "--launched"]
    qpibench(*request).fails(2, "the variable WORLD_SIZE is missing; start them by accelerate launch")
    qpibench(*request, "--processes", 2).fails(2, "the launcher says how many processes there are")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCELERATE_USE_FSDP", "true"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
    ],
)
def test_other_ways_of_accelerate_to_train_are_refused(qpibench, monkeypatch, tmp_path, name, value):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, value)
    outcome = qpibench("train", TOY, "--stream", "mini", "-o", tmp_path / "run", "--launched")
    outcome.fails(2, f"in another way than by copies of the network ({name}={value})")


def test_the_main_process_reports_and_records_the_launcher_and_others_are_silent(tmp_path):
    request = [TOY, "--stream", "mini", "-o", tmp_path / "run"]
    main = _launched(*request, "--json", WORLD_SIZE="1", RANK="0", ACCELERATE_MIXED_PRECISION="no")
    assert main.returncode == 0, main.stderr
    record = json.loads(main.stdout)
    assert (record["status"], record["ignored_variables"]) == ("complete", [])
    assert record["variables"]["ACCELERATE_MIXED_PRECISION"] == "no"
    other = _launched(*request, "--resume", "--json", WORLD_SIZE="1", RANK="1")
    assert (other.returncode, other.stdout) == (0, ""), other.stderr


def test_a_run_folder_in_which_another_process_trains_is_refused(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    other = os.open(folder, os.O_RDONLY)
    lock(other)
    refused = _launched(TOY, "--stream", "mini", "-o", folder, WORLD_SIZE="1", RANK="0")
    os.close(other)
    assert refused.returncode == 1
    assert refused.stderr == f"Error: Another process is training in '{folder}'; wait for it or use another folder.\n"
    assert not folder.exists() or not any(folder.iterdir())


def test_an_error_of_the_entry_is_one_sentence_in_every_process(tmp_path):
    request = [TOY, "--stream", "mini", "-o", tmp_path / "run", "--set", "fail=raise"]
    failed = _launched(*request, WORLD_SIZE="2", RANK="1")
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: Training 'toy' failed: toy.py:")
    assert failed.stderr.endswith(": ValueError: the toy is broken.\n")
    assert "Traceback" not in failed.stderr


def _launch(configurations, request):
    """Run `accelerate launch` with each configuration at the same time."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    running = [
        subprocess.Popen(
            [*command, str(configuration), "-m", "qpibench", "train", *map(str, request), "--launched"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for configuration in configurations
    ]
    outputs = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * len(running), outputs
    return outputs


def _losses(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line.get("loss", line.get("validation")) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda ending: ending.name)
def test_a_signal_stops_with_a_checkpoint(mini, tmp_path, ending):
    if signal.getsignal(ending) is signal.SIG_IGN:  # as nohup starts a program, which then ignores SIGHUP too
        pytest.skip(f"{ending.name} is ignored by what started the tests")
    pytest.importorskip("safetensors.numpy")
    pytest.importorskip("accelerate")
    (tmp_path / "plain.py").write_text(WITHOUT_DRAWS.replace("steps=9, budget=9", "steps=10**6, budget=10**6"))
    run = tmp_path / "run"
    request = [tmp_path / "plain.py", "--release", mini, "--precision", "no", "-o", run]
    process = subprocess.Popen(
        [sys.executable, "-m", "qpibench", "train", *map(str, request), "--launched"],
        env=os.environ | {"WORLD_SIZE": "1", "RANK": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (run / "checkpoint.safetensors").exists() and process.poll() is None:
        pass
    process.send_signal(ending)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "--resume" in stdout
    assert json.loads((run / "run.json").read_text())["status"] == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2], ids=["one machine", "two machines"])
def test_two_processes_of_accelerate_train_as_one_does(qpibench, mini, tmp_path, machines):
    numpy = pytest.importorskip("safetensors.numpy")
    pytest.importorskip("accelerate")
    (tmp_path / "plain.py").write_text(WITHOUT_DRAWS)
    request = [tmp_path / "plain.py", "--release", mini, "--precision", "no", "-o"]
    alone, together = tmp_path / "alone", tmp_path / "together"
    outcome = qpibench("train", *request, alone)
    assert outcome.exit_code == 0, outcome.stderr

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configurations = [tmp_path / f"{rank}.yaml" for rank in range(machines)]
    for rank, configuration in enumerate(configurations):
        configuration.write_text(CONFIGURATION.format(machines=machines, rank=rank, port=port))
    _launch(configurations, [*request, together, "--max-minutes", "1e-9"])
    assert json.loads((together / "run.json").read_text())["status"] == "stopped"
    _launch(configurations, [*request, together, "--resume"])

    record = json.loads((together / "run.json").read_text())
    assert (record["status"], record["variables"]["WORLD_SIZE"]) == ("complete", "2")
    assert _losses(together) == pytest.approx(_losses(alone), rel=1e-5)
    expected, found = (numpy.load_file(run / "weights.safetensors") for run in (alone, together))
    assert {name: found[name].ravel().tolist() for name in found} == {
        name: pytest.approx(values.ravel().tolist(), rel=1e-4, abs=1e-6) for name, values in expected.items()
    }
