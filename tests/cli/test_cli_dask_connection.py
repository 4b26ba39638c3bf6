"""Connections to dask workers, without work: how many tasks they run at once, and how they end."""

from __future__ import annotations

import importlib
import signal

import pytest

from qpibench.cluster.client import Place, connected


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
