"""Starts the training process, passes interruptions on to it, and ends it when this process ends."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from qpibench.errors import InvalidDataError, QpibenchError, UnavailableError, UsageError
from qpibench.evaluation.isolation.process import guarded_folder, require_processes, way_of_death, with_package
from qpibench.evaluation.run_record import RunFolder, RunRecord, load_run
from qpibench.extras import missing_package
from qpibench.parsing import parse_json
from qpibench.processors import thread_variables
from qpibench.release import open_release
from qpibench.tasks.species import require_one_species
from qpibench.training.request import TrainingRun
from qpibench.training.run_folder import former_run, only_training
from qpibench.training.variables import PARENT, allocator_variables, without_launchers

_STDERR = 2

STOP_S = 20.0
"""Seconds between the request to stop and the killing of the training process.

They are for the current step and the checkpoint.

Batch systems kill a job 30 s after SIGTERM by default (SLURM's KillWait, Kubernetes' termination grace period).
"""


@dataclass(frozen=True, kw_only=True)
class TrainOutcome:
    """Result of a start of a training run.

    Attributes
    ----------
    record
        The contents of run.json; None if training ended before it was written.
    exit_code
        0 if training ended without an error.
    error
        The error in one sentence, or None.
    traceback
        Traceback of the error; may be empty.
    interrupted
        Whether training was told to stop.
    killed
        Whether it did not stop within :data:`STOP_S` seconds and was killed; its last checkpoint is kept.
    """

    record: RunRecord | None
    exit_code: int
    error: str | None
    traceback: str
    interrupted: bool
    killed: bool = False


def train(run: TrainingRun, *, processes: int = 1, quiet: bool = False) -> TrainOutcome:
    """Run an entry's ``train`` in another process, and wait for its end.

    At KeyboardInterrupt, which the command line also raises at SIGTERM and SIGHUP, the training process gets SIGTERM:
    the entry's ``train`` sees a KeyboardInterrupt, writes a checkpoint and returns. It is killed if that takes longer
    than :data:`STOP_S` seconds, or at a second KeyboardInterrupt. If this process ends in any other way, training is
    killed too.

    Parameters
    ----------
    run
        The request.
    processes
        Number of processes that train together, each on its own device if there are several devices. Two or more are
        started by ``torch.distributed.run``.
    quiet
        Whether the output of training is dropped; else it goes to standard error.

    Raises
    ------
    UsageError
        If the run folder holds a run and ``run.resume`` is not set, the number of processes is not valid, or the images
        have two species of scatterers.
    InvalidDataError
        If its run.json is corrupt.
    QpibenchError
        If another process trains in the run folder.
    UnavailableError
        If several processes are asked for and torch is not installed, or on Windows.
    """
    if processes < 1:
        raise UsageError(f"The number of processes must be 1 or more, found {processes}.")
    require_processes("Trainings")
    require_trainable(run)
    former_run(run)
    with only_training(run), guarded_folder() as guarded:
        request, failure = guarded.path / "request.json", guarded.path / "failure.json"
        request.write_text(run.to_json(), encoding="utf-8")
        output = subprocess.DEVNULL if quiet else _STDERR
        process = subprocess.Popen(
            [*_launcher(processes), "qpibench.training.worker", str(request), str(failure)],
            env=_environment(processes),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C at the terminal then reaches only this process
        )
        try:
            guarded.add_group(process.pid)
            code, interrupted, killed = _wait(process)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        outcome = _outcome(run, code, failure, interrupted=interrupted)
        return replace(outcome, killed=killed)


def require_trainable(run: TrainingRun) -> None:
    """Refuse images with two species of scatterers."""
    if run.spec is not None:
        require_one_species(run.spec, what="Training")
    if run.release_path is not None and run.release_path.is_file():
        with open_release(run.release_path) as release:
            require_one_species(release, what="Training")


def _launcher(processes: int) -> list[str]:
    if processes == 1:
        return [sys.executable, "-P", "-m"]
    if importlib.util.find_spec("torch") is None:
        raise UnavailableError(f"{missing_package('Training with several processes', 'torch')}.")
    return [sys.executable, "-P", "-m", "qpibench.training.launcher", str(processes)]


def _environment(processes: int) -> dict[str, str]:
    own = {PARENT: str(os.getpid()), "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(round(STOP_S))}
    given = without_launchers(with_package(os.environ))
    return thread_variables(processes=processes) | own | given | allocator_variables(given)


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, bool, bool]:
    """Wait for the process; return its exit code, whether it was interrupted, and whether it then had to be killed."""
    try:
        return process.wait(), False, False
    except KeyboardInterrupt:
        with suppress(ProcessLookupError):
            process.terminate()
    try:
        return process.wait(STOP_S), True, False
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait(), True, True


def _outcome(run: TrainingRun, code: int, failure: Path, *, interrupted: bool) -> TrainOutcome:
    record, error, trace = None, None, ""
    with suppress(QpibenchError):
        record = load_run(run.folder)
    try:
        told = parse_json(failure.read_bytes(), "The failure")
        code, error, trace = told["exit_code"], told["message"], told["traceback"]
    except (OSError, InvalidDataError, KeyError, TypeError):  # training ended before it wrote the file, or while it did
        if code and not interrupted:
            _, how = way_of_death(code)
            code, error = (
                QpibenchError.exit_code,
                f"Training '{run.entry}' stopped: its process {how}.{_remedy(record)}",
            )
        elif record is None and not interrupted:
            code = InvalidDataError.exit_code
            error = (
                f"Training '{run.entry}' left no {RunFolder(run.folder).record.name}: its train must call"
                " qpibench.training.begin_run."
            )
    return TrainOutcome(record=record, exit_code=code, error=error, traceback=trace, interrupted=interrupted)


def _remedy(record: RunRecord | None) -> str:
    return "" if record is None else " Run the same command with --resume added to continue from its last checkpoint."
