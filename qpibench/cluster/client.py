"""Connects to dask workers: to those of a running scheduler, or to workers that are started and ended here."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any, Literal, Self

from qpibench.errors import QpibenchError, UnavailableError, UsageError, reason
from qpibench.extras import optional_module
from qpibench.notices import note, warn
from qpibench.processors import processors

EXPECTED = "expected local, local:N, slurm, slurm:N, or the address of a scheduler such as tcp://host:8786"
ASSUMED_SLOTS = 16
"""Tasks that are expected to run at the same time on a scheduler without workers yet."""

NO_WORKER_S = 30
"""Time in s without any worker after which the user is told that the run waits."""

LOOK_S = 5
"""Time in s between two looks for workers."""

CLOSE_S = 30
"""Time in s for workers to end; the programs of SLURM may take some of it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where tasks run.

    Attributes
    ----------
    kind
        ``"local"``: processes on this machine; ``"slurm"``: jobs of SLURM; ``"scheduler"``: the workers of a scheduler
        that somebody has started.
    workers
        How many workers to start; None if it was not said.
    address
        Address of the scheduler, else empty.
    """

    kind: Literal["local", "slurm", "scheduler"]
    workers: int | None = None
    address: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``local``, ``local:N``, ``slurm``, ``slurm:N`` or an address.

        Raises
        ------
        UsageError
            If the text is none of them.
        """
        if found := re.fullmatch(r"(local|slurm)(?::([1-9][0-9]{0,5}))?", text):
            return cls(kind="local" if found[1] == "local" else "slurm", workers=int(found[2]) if found[2] else None)
        if re.fullmatch(r"([a-z]+://\S+|(?!local:|slurm:)[^\s:/]+:[0-9]{1,5})", text):
            return cls(kind="scheduler", address=text)
        raise UsageError(f"'{text}' names no dask workers; {EXPECTED}.")


@dataclass(frozen=True)
class Connection:
    """A connection to workers.

    Attributes
    ----------
    client
        The `distributed.Client`.
    slots
        The number of tasks that run at the same time, as far as it is known; 0 if it is not.
    """

    client: Any
    slots: int


@contextmanager
def connected(place: Place, *, devices: int = 0) -> Iterator[Connection]:
    """Connect to workers; those that are started here are ended at the end of the context.

    dask's own messages are not printed meanwhile. Whenever there has been no worker for :data:`NO_WORKER_S`, the user
    is told. Workers on this machine listen on 127.0.0.1 only, and no dashboard is started.

    Parameters
    ----------
    place
        Where the workers are.
    devices
        Number of CUDA devices of this machine that local workers use, one each; 0 if they use none.

    Raises
    ------
    UnavailableError
        If dask or SLURM is not installed, or no scheduler answers.
    UsageError
        If dask's configuration cannot be read, or that of SLURM's jobs cannot be used.
    QpibenchError
        If workers cannot be started on this machine, or SLURM does not accept a job.
    """
    try:
        distributed = optional_module("distributed", "--dask")
    except ValueError as error:
        raise UsageError(f"dask's configuration cannot be read: {reason(error)}.") from error
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        cluster: Any
        if place.kind == "scheduler":
            cluster, expected = place.address, 0
        elif place.kind == "local":
            expected = place.workers or devices or processors()
            cluster = stack.enter_context(_local(distributed, expected))
        else:
            cluster, expected = stack.enter_context(_slurm(distributed, place.workers))
        try:
            client = _client(distributed, cluster)
            stack.callback(_close, client)
            threads = sum(client.nthreads().values())
        except Exception as error:  # distributed raises errors of many classes, such as TypeError for TLS without keys
            address = place.address or cluster.scheduler_address
            raise UnavailableError(f"No dask scheduler answers at '{address}': {reason(error)}.") from error
        if place.kind == "local" and devices:
            shown = visible_devices() or [str(device) for device in range(devices)]
            client.register_plugin(_one_device_each(distributed, shown[:devices]))
        stack.enter_context(_told_that_it_waits(client, place))
        yield Connection(client, max(expected, threads))


def _client(distributed: Any, cluster: Any) -> Any:
    class Client(distributed.Client):  # type: ignore[misc]  # its base class is known at run time only
        """A client that is closed by :func:`_close` alone.

        dask's own closes itself when it is collected. One that has never connected prints a traceback then.
        """

        def __del__(self) -> None:
            pass

    return Client(cluster, set_as_default=False)


@contextmanager
def _told_that_it_waits(client: Any, place: Place) -> Iterator[None]:
    """Tell the user whenever there has been no worker for :data:`NO_WORKER_S`; the run waits without a limit."""
    remedy = {
        "local": "stop it, and add --resume to go on",
        "slurm": "squeue lists the jobs that wait, and log-directory has the logs of those that ended"
        + (", which are not submitted again" if place.workers else ""),
        "scheduler": f"start one for the scheduler at '{place.address}'",
    }[place.kind]
    ended = threading.Event()

    def look() -> None:
        since, told = time.monotonic(), False
        while not ended.wait(LOOK_S):
            with suppress(Exception):  # the scheduler may be lost, which the run itself will say
                if client.nthreads():
                    since, told = time.monotonic(), False
                elif not told and time.monotonic() - since >= NO_WORKER_S:
                    note(f"There has been no dask worker for {NO_WORKER_S} s, so the run waits; {remedy}.")
                    told = True

    threading.Thread(target=copy_context().run, args=[look], daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the messages of dask off the terminal: what the user needs to know is in our own."""
    former = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(former)


@contextmanager
def _local(distributed: Any, workers: int) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            with _undisturbed():
                cluster = distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",  # of the pages of status, which dask always serves
                    scheduler_kwargs={"dashboard": False},
                    memory_limit=0,  # as in a run of one process, the system sets the limit
                    silence_logs=logging.CRITICAL,
                )
                stack.enter_context(_ending_processes(cluster))
        except Exception as error:
            raise QpibenchError(f"dask cannot start workers on this machine: {reason(error)}.") from error
        yield cluster


@contextmanager
def _ending_processes(cluster: Any) -> Iterator[None]:
    """Close a cluster of processes at the end; after an error or an interruption, do not wait for its tasks."""
    try:
        yield
    except BaseException:
        # A task in the middle of a computation would keep its worker for as long as the task takes.
        for nanny in cluster.workers.values():
            nanny.auto_restart = False
            with suppress(OSError, TypeError):
                os.kill(nanny.pid, signal.SIGTERM)
        raise
    finally:
        pids = [nanny.pid for nanny in cluster.workers.values()]
        with _undisturbed():
            try:
                cluster.close(timeout=CLOSE_S)
            except TimeoutError:  # the run is not to fail by what comes after it
                for pid in pids:
                    with suppress(OSError, TypeError):
                        os.kill(pid, signal.SIGKILL)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold signals that interrupt the command back: half a cluster cannot be closed, and would leave processes.

    A signal that arrives raises KeyboardInterrupt at the end of this context. Threads and processes that are started
    in it never get SIGINT: a terminal sends it to workers too, which would print tracebacks.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    former = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in numbers}
    try:
        with _sigint_blocked():
            yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        if caught:
            raise KeyboardInterrupt


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT in this thread, and in the threads and processes that are started from it meanwhile."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # the thread that starts it could get SIGINT again
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


@contextmanager
def _slurm(distributed: Any, workers: int | None) -> Iterator[tuple[Any, int]]:
    """Start SLURM's jobs as dask's configuration describes them; yield the cluster and the number of its workers."""
    with _undisturbed():  # its import sets a handler that ends the process at Ctrl-C with exit code 0
        jobqueue = optional_module("dask_jobqueue", "--dask slurm")
    get = optional_module("dask", "--dask").config.get
    most = get("distributed.adaptive.maximum", float("inf"))
    if workers is None and most == float("inf"):
        raise UsageError(
            "--dask slurm does not know how many workers to start; write slurm:N, or set distributed.adaptive.maximum"
            " in dask's configuration."
        )
    if shutil.which("sbatch") is None:
        raise UnavailableError(
            "--dask slurm needs the program sbatch, which is not here; run it where jobs are submitted."
        )
    # dask-jobqueue starts a dashboard unless its own options say otherwise.
    options = {"dashboard_address": ":0", "dashboard": False}
    asked = get("jobqueue.slurm.scheduler-options", None) or {}
    with ExitStack() as stack:
        try:
            with _undisturbed():
                cluster = jobqueue.SLURMCluster(
                    scheduler_options=asked if "dashboard_address" in asked else {**options, **asked},
                    silence_logs=logging.CRITICAL,
                )
                stack.enter_context(_cancelling_jobs(distributed, cluster))
        except Exception as error:  # something is missing or of another type, or its interface or port is not there
            raise _unusable(error) from error
        # A job that SLURM refuses would only be written to dask's log, and the run would wait for it.
        try:
            cluster.sync(_submitted, cluster, workers or max(1, get("distributed.adaptive.minimum", 0)))
        except (RuntimeError, ValueError) as error:  # sbatch fails, or names no job
            raise QpibenchError(f"SLURM does not accept the job: {reason(error)}.") from error
        except Exception as error:
            raise _unusable(error) from error
        threads = next(iter(cluster.workers.values())).worker_process_threads
        if workers is None:
            cluster.adapt()
        yield cluster, (workers or int(most)) * max(1, threads)


def _unusable(error: Exception) -> UsageError:
    return UsageError(f"dask's configuration of jobqueue.slurm cannot be used: {reason(error)}.")


@contextmanager
def _cancelling_jobs(distributed: Any, cluster: Any) -> Iterator[None]:
    """Cancel the jobs of a cluster at the end, and close it."""
    try:
        yield
    finally:
        # dask asserts that jobs are closed, which those of dask-jobqueue never say of themselves.
        for job in cluster.workers.values():
            job.status = distributed.Status.closed
        with _undisturbed(), suppress(AssertionError):
            try:
                cluster.close(timeout=CLOSE_S)
            except TimeoutError:
                warn(f"scancel has not ended jobs of SLURM within {CLOSE_S} s; squeue shows which ones are left.")


async def _submitted(cluster: Any, workers: int) -> None:
    """Start workers, and raise the error of a job that cannot be submitted."""
    cluster.scale(workers)
    await cluster
    for job in list(cluster.workers.values()):
        await job


def _close(client: Any) -> None:
    # The scheduler may be lost, and then cannot be told.
    with suppress(Exception):
        client.close(timeout=1)


def visible_devices() -> list[str]:
    """Names of the CUDA devices in ``CUDA_VISIBLE_DEVICES``; none if it is not set, or hides all of them."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return [name for name in names if name not in ("", "-1")]


def _one_device_each(distributed: Any, devices: list[str]) -> Any:
    class OneDevice(distributed.WorkerPlugin):  # type: ignore[misc]  # its base class is known at run time only
        """Shows each worker one CUDA device, before a task looks for it."""

        name = "qpibench-one-device"

        def setup(self, worker: Any) -> None:
            os.environ["CUDA_VISIBLE_DEVICES"] = devices[int(worker.name) % len(devices)]

    return OneDevice()
