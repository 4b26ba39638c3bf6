"""Training in processes that a launcher, such as ``accelerate launch``, has started on one machine or several."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext, suppress

from qpibench.errors import QpibenchError, UsageError
from qpibench.evaluation.isolation.process import die_with, require_processes
from qpibench.evaluation.run_record import load_run
from qpibench.training.request import TrainingRun
from qpibench.training.run_folder import only_training
from qpibench.training.start import TrainOutcome, require_trainable
from qpibench.training.worker import train_here

_OTHER_WAYS = {
    **dict.fromkeys(("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_MEGATRON_LM"), "false"),
    "ACCELERATE_USE_PARALLELISM_CONFIG": "false",
    "ACCELERATE_DYNAMO_BACKEND": "no",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1",
}
"""Variables of Accelerate for other ways to train, and the value with which they ask for none."""


def is_main_process() -> bool:
    """Whether this process is the one that writes the run folder and reports."""
    return os.environ.get("RANK", "0") == "0"


def train_launched(run: TrainingRun) -> TrainOutcome:
    """Run an entry's ``train`` in this process, one of those that a launcher has started to train together.

    The launcher says by ``WORLD_SIZE`` and ``RANK`` how many processes there are and which one this is. Each process
    trains on its rows of every batch and on a device of its own. The main process writes the run folder; on several
    machines all must see that folder, and the release, under the same paths.

    Parameters
    ----------
    run
        The request, the same in all processes.

    Returns
    -------
    TrainOutcome
        It has a record in the main process only.

    Raises
    ------
    UsageError
        If no launcher has started this process, if Accelerate is to train in another way (DeepSpeed, FSDP, ...), or if
        the images have two species of scatterers.
    QpibenchError
        If another process trains in the run folder, or that folder cannot be created.
    UnavailableError
        On Windows.
    """
    require_processes("Trainings")
    _require_launcher()
    require_trainable(run)
    die_with(os.getppid())
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))  # stops between two steps
    with only_training(run) if is_main_process() else nullcontext():
        failure = train_here(run)
    record = None
    if is_main_process():
        with suppress(QpibenchError):
            record = load_run(run.folder)
    return TrainOutcome(
        record=record,
        exit_code=0 if failure is None else failure.exit_code,
        error=None if failure is None else failure.message,
        traceback="" if failure is None else failure.traceback,
        interrupted=False,
    )


def _require_launcher() -> None:
    if "WORLD_SIZE" not in os.environ:
        raise UsageError(
            "--launched is for several processes that a launcher has started, and the variable WORLD_SIZE is missing;"
            " start them by accelerate launch with num_processes of 2 or more, or leave --launched away."
        )
    for name, none in _OTHER_WAYS.items():
        if (found := os.environ.get(name, none)).lower() != none:
            raise UsageError(
                f"Accelerate is asked to train in another way than by copies of the network ({name}={found});"
                " remove that from its configuration."
            )
