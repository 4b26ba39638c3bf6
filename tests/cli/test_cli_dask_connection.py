"""Connections to dask workers, without work: jobs of SLURM, how many tasks run at once, and how a connection ends."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue

import pytest

from qpibench.cluster import client
from qpibench.cluster.client import Place, connected
from qpibench.notices import shown

PATIENCE_S = 60


def test_the_example_of_slurm_gives_the_job_script_that_the_page_shows(tmp_path, monkeypatch):
    dask, slurm = pytest.importorskip("dask"), pytest.importorskip("dask_jobqueue.slurm")
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    yaml, bash = (page.split(f"```{language}\n")[1].split("```")[0] for language in ("yaml", "bash"))
    (tmp_path / "jobqueue.yaml").write_text(yaml, encoding="utf-8")
    monkeypatch.chdir(tmp_path)  # the folder of logs is created
    with dask.config.set(dask.config.merge(dask.config.config, dask.config.collect([str(tmp_path)], env={}))):
        script = slurm.SLURMJob(scheduler="tcp://login:8786", name="worker").job_script()
    assert script.startswith(f"#!/usr/bin/env bash\n\n{bash}")
    assert "source ~/qpibench/.venv/bin/activate\n" in script
    assert "--nthreads 16" in script


# A job that ends at once, as one whose prologue names an environment that is not there.
ENDS = """#!/bin/sh
setsid true &
echo "Submitted batch job $!"
"""


@pytest.mark.parametrize(("processes", "slots"), [(1, 32), (16, 2), (None, 8)])
def test_workers_of_slurm_have_the_threads_that_dask_gives_them(slurm, processes, slots):
    import dask

    slurm(ENDS)
    settings = {"jobqueue.slurm.cores": 16, "jobqueue.slurm.processes": processes}
    with dask.config.set(settings), connected(Place.parse("slurm:2")) as connection:
        assert connection.slots == slots


@pytest.fixture
def told(monkeypatch):
    """Queue of the sentences for the user, who is told at once that there is no worker."""
    monkeypatch.setattr(client, "NO_WORKER_S", 0)
    monkeypatch.setattr(client, "LOOK_S", 0.01)
    sentences = SimpleQueue()
    with shown(notes=sentences.put, warnings=sentences.put):
        yield sentences


def test_a_run_whose_jobs_all_ended_says_that_it_waits(slurm, told):
    slurm(ENDS)
    with connected(Place.parse("slurm:1")):
        sentence = told.get(timeout=PATIENCE_S)
    assert sentence == (
        "There has been no dask worker for 0 s, so the run waits; squeue lists the jobs that wait, and"
        " log-directory has the logs of those that ended, which are not submitted again."
    )


def test_a_run_on_a_scheduler_without_workers_says_that_it_waits(distributed, told):
    nobody = {"n_workers": 0, "processes": False, "protocol": "tcp", "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(**nobody) as cluster, connected(Place.parse(cluster.scheduler_address)):
        sentence = told.get(timeout=PATIENCE_S)
    assert f"start one for the scheduler at '{cluster.scheduler_address}'." in sentence


def test_a_run_that_has_lost_all_its_workers_says_that_it_waits(distributed, told):
    one = {"n_workers": 1, "processes": False, "protocol": "tcp", "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(**one) as cluster, connected(Place.parse(cluster.scheduler_address)) as connection:
        assert connection.slots
        cluster.scale(0)
        assert "There has been no dask worker" in told.get(timeout=PATIENCE_S)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1", "tls://127.0.0.1:1", "ucx://127.0.0.1:1", "inproc://x", "tcp://127.0.0.1:1"]
)
def test_an_address_at_which_no_scheduler_can_be_reached_is_told_in_one_sentence(
    qpibench, distributed, tmp_path, address, monkeypatch
):
    import dask

    raised = []
    monkeypatch.setattr("sys.unraisablehook", raised.append)
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        told = qpibench("generate", "mini", "-o", tmp_path / "a.h5", "--dask", address)
    told.fails(4, f"No dask scheduler answers at '{address}'")
    gc.collect()
    assert not raised


@pytest.mark.parametrize(
    ("where", "settings", "code", "word"),
    [
        ("local:1", {"distributed.comm.timeouts.connect": "soon"}, 1, "cannot start workers on this machine"),
        ("local:1", {"distributed.comm.require-encryption": True}, 1, "cannot start workers on this machine"),
        ("slurm:1", {"jobqueue.slurm.memory": 32}, 2, "jobqueue.slurm cannot be used"),
        ("slurm:1", {"jobqueue.slurm.processes": 0}, 2, "jobqueue.slurm cannot be used"),
        ("slurm:1", {"jobqueue.slurm.job-script-prologue": 7}, 2, "jobqueue.slurm cannot be used"),
    ],
)
def test_a_wrong_configuration_of_dask_is_told_in_one_sentence(qpibench, slurm, tmp_path, where, settings, code, word):
    import dask

    slurm(ENDS)
    with dask.config.set(settings):
        qpibench("generate", "mini", "-o", tmp_path / "a.h5", "--dask", where).fails(code, word)


def test_a_file_of_configuration_that_dask_cannot_read_is_told_in_one_sentence(distributed, tmp_path):
    (tmp_path / "dask.yaml").write_text(": [x")
    command = [sys.executable, "-m", "qpibench", "generate", "mini", "-o", tmp_path / "a.h5", "--dask", "local:1"]
    environment = {**os.environ, "DASK_CONFIG": str(tmp_path)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 2
    assert "Error: dask's configuration cannot be read" in process.stderr
    assert "Traceback" not in process.stderr


def test_sbatch_that_names_no_job_is_told_in_one_sentence(qpibench, slurm, tmp_path):
    slurm("#!/bin/sh\necho done\n")
    qpibench("generate", "mini", "-o", tmp_path / "a.h5", "--dask", "slurm:1").fails(1, "does not accept the job")


def _interrupted_by_the_user(place):
    with connected(place):
        raise KeyboardInterrupt


def test_a_slow_scancel_hides_no_interruption(slurm, tmp_path, monkeypatch):
    slurm(ENDS)
    os.mkfifo(tmp_path / "wait")
    end = os.open(tmp_path / "wait", os.O_RDWR)
    (tmp_path / "scancel").write_text(f"#!/bin/sh\nread line < {tmp_path / 'wait'}\n")
    monkeypatch.setattr(client, "CLOSE_S", 0.1)
    warnings = []
    with shown(notes=print, warnings=warnings.append), pytest.raises(KeyboardInterrupt):
        _interrupted_by_the_user(Place.parse("slurm:1"))
    (tmp_path / "scancel").write_text("#!/bin/sh\n")
    os.close(end)  # those that wait end with it
    assert "scancel has not ended jobs of SLURM" in warnings[-1]


@pytest.mark.parametrize(
    ("where", "module", "name"),
    [("local:1", "distributed", "LocalCluster"), ("slurm:1", "dask_jobqueue", "SLURMCluster")],
)
def test_an_interruption_while_a_cluster_starts_closes_it(distributed, slurm, monkeypatch, where, module, name):
    slurm()
    starts, started = getattr(importlib.import_module(module), name), []

    def interrupted(**options):
        started.append(starts(**{**options, "n_workers": 0}))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(f"{module}.{name}", interrupted)
    with pytest.raises(KeyboardInterrupt), connected(Place.parse(where)):
        pass
    assert started[0].status == distributed.Status.closed
