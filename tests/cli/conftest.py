"""Fixtures of the command-line tests: run a command, and compare the files of a folder before and after."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qpibench.cli.main import cli


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and its exit code."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output."""
        return json.loads(self.stdout)

    def fails(self, exit_code: int, *words: str) -> None:
        """Hold a failure to the rules: its exit code, and one sentence with these words on standard error."""
        assert (self.exit_code, self.error) == (exit_code, self.error)
        for word in words:
            assert word in self.error
        assert "Traceback" not in self.stdout + self.stderr
        assert "Unexpected" not in self.error
        if self.stdout.startswith("{"):
            assert self.json["schema_version"] == 2
            assert self.json["error"] == {"message": self.error, "exit_code": exit_code}

    @property
    def error(self) -> str:
        """The sentence."""
        sentences = [line.removeprefix("Error: ") for line in self.stderr.splitlines() if line.startswith("Error: ")]
        assert len(sentences) == 1, self.stderr
        assert self.stderr.rstrip("\n").endswith(sentences[0]), self.stderr
        return sentences[0]


@pytest.fixture(scope="session")
def qpibench() -> Callable[..., Outcome]:
    """Run the command line in this process."""

    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="qpibench")
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def mini(tmp_path_factory, qpibench) -> Path:
    """The release `mini`, not to be changed."""
    path = tmp_path_factory.mktemp("mini") / "mini.h5"
    outcome = qpibench("generate", "mini", "-o", path)
    assert outcome.exit_code == 0, outcome.stderr
    return path


@pytest.fixture(scope="session")
def predictions(tmp_path_factory, qpibench, mini) -> Path:
    """Four predictions of zeros for each task of `mini`, not to be changed."""
    path = tmp_path_factory.mktemp("predictions") / "zeros.h5"
    outcome = qpibench("predict", "zeros", "--release", mini, "--limit", 4, "-o", path)
    assert outcome.exit_code == 0, outcome.stderr
    return path


@pytest.fixture(scope="session")
def one_prediction(tmp_path_factory, qpibench, mini) -> Path:
    """One prediction of zeros for each task of `mini`, whose report is drawn in little time; not to be changed."""
    path = tmp_path_factory.mktemp("one_prediction") / "zeros.h5"
    outcome = qpibench("predict", "zeros", "--release", mini, "--limit", 1, "-o", path)
    assert outcome.exit_code == 0, outcome.stderr
    return path


@pytest.fixture(scope="session")
def result(tmp_path_factory, qpibench, mini, predictions) -> Path:
    """Their result, not to be changed."""
    path = tmp_path_factory.mktemp("result") / "zeros.json"
    outcome = qpibench("score", predictions, "--release", mini, "-o", path)
    assert outcome.exit_code == 0, outcome.stderr
    return path


@pytest.fixture
def write_model(tmp_path) -> Callable[[str], Path]:
    """Write a model's file."""

    def write(source: str) -> Path:
        path = tmp_path / "models" / "my_model.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return path

    return write


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, and the hash of what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def unchanged(tmp_path) -> Any:
    """Whatever is done in this context must leave no trace in the test's folder."""

    @contextmanager
    def context() -> Any:
        before = contents(tmp_path)
        yield
        assert contents(tmp_path) == before

    return context


@pytest.fixture
def full_disk() -> Any:
    """In this context no file can grow beyond some bytes, as on a full disk."""

    @contextmanager
    def context(limit: int) -> Any:
        former = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, former[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, former)

    return context


@pytest.fixture(scope="module")
def distributed():
    return pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def scheduler(distributed):
    """Address of a scheduler whose worker runs in this process."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


SCHEDULER = """
import time
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    print(cluster.scheduler_address, flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def start_scheduler(distributed, tmp_path):
    """Start a scheduler with a worker in processes of their own; return its process and its address."""
    started = []

    def start():
        (tmp_path / "cluster.py").write_text(SCHEDULER)
        command = [sys.executable, tmp_path / "cluster.py"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


# SLURM on this machine: a job is a process group, and its number that of its first process.
SBATCH = """#!/bin/sh
cp "$1" job.sh
setsid sh job.sh > job.log 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -- "-$1"
"""


@pytest.fixture
def slurm(distributed, tmp_path, monkeypatch):
    """Put the two programs of SLURM on the path, and describe its jobs in dask's configuration."""
    dask, _ = pytest.importorskip("dask"), pytest.importorskip("dask_jobqueue")
    settings = {"cores": 1, "processes": 1, "memory": "8GB", "interface": "lo", "python": sys.executable}
    for name, value in settings.items():  # for processes that are started
        monkeypatch.setenv(f"DASK_JOBQUEUE__SLURM__{name.upper()}", str(value))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def install(sbatch=SBATCH):
        for name, text in {"sbatch": sbatch, "scancel": SCANCEL}.items():
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)

    with dask.config.set({f"jobqueue.slurm.{name}": value for name, value in settings.items()}):
        yield install
