"""Connections to dask workers, without work: jobs of SLURM, how many tasks run at once, and how a connection ends."""

from __future__ import annotations

import importlib
import signal

import pytest

from qpibench.cluster.client import Place, connected

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
