"""Connections to dask workers, without work: jobs of SLURM, how many tasks run at once, and how a connection ends."""

from __future__ import annotations

import importlib
import signal
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
    sentences = SimpleQueue()
    with shown(notes=sentences.put, warnings=sentences.put):
        yield sentences


def test_a_run_whose_jobs_all_ended_says_that_it_waits(slurm, told):
    slurm(ENDS)
    with connected(Place.parse("slurm:1")):
        sentence = told.get(timeout=PATIENCE_S)
    assert sentence == (
        "No dask worker has come within 0 s, so the run waits; squeue lists the jobs that wait too, and log-directory"
        " has the logs of those that ended."
    )


def test_a_run_on_a_scheduler_without_workers_says_that_it_waits(distributed, told):
    nobody = {"n_workers": 0, "processes": False, "protocol": "tcp", "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(**nobody) as cluster, connected(Place.parse(cluster.scheduler_address)):
        sentence = told.get(timeout=PATIENCE_S)
    assert f"start one for the scheduler at '{cluster.scheduler_address}'." in sentence


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
