"""The process that runs an entry's ``train``: ``python -m qpibench.training.worker REQUEST.json FAILURE.json``.

REQUEST.json is written by :meth:`TrainingRun.to_json`. An error is reported in one sentence, in FAILURE.json, and
determines the exit code. Of several processes that train together, the first to fail writes FAILURE.json.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from qpibench.errors import InvalidDataError, QpibenchError, UnavailableError, UsageError
from qpibench.evaluation.entries import shipped_entries
from qpibench.evaluation.isolation.failure import describe
from qpibench.evaluation.isolation.loading import InterfaceError, import_file
from qpibench.evaluation.isolation.process import die_with
from qpibench.extras import TRAINING, missing_module, missing_package
from qpibench.training.request import TrainingRun
from qpibench.training.variables import PARENT

_INTERRUPTED = 130
_ENDINGS = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """Train, and end the process."""
    request, place = (Path(text) for text in sys.argv[1:])
    die_with(int(os.environ.get(PARENT, os.getppid())))
    for ending in _ENDINGS:  # before train starts there is nothing to save
        signal.signal(ending, signal.SIG_DFL)
    sys.argv = sys.argv[:1]
    try:
        _train_or_tell(request, place)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _interrupt_once(_number: int, _frame: FrameType | None) -> NoReturn:
    """Raise KeyboardInterrupt at the first signal, and ignore all others.

    Several may come: a batch system sends SIGTERM to every process of a job, so this process gets one from the system
    and one from its parent. The second must not cut off the saving of a checkpoint.
    """
    for ending in _ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


def _train_or_tell(request: Path, place: Path) -> None:
    try:
        run = TrainingRun.from_json(request.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"The request '{request}' cannot be read: {error.strerror}."
        _tell(place, Failure(message=message, exit_code=UsageError.exit_code))
    except QpibenchError as error:
        _tell(place, Failure(message=str(error), exit_code=error.exit_code))
    failure = train_here(run)
    if failure is not None:
        _tell(place, failure)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an entry's ``train`` failed: one sentence, the exit code and the traceback, which may be empty."""

    message: str
    exit_code: int
    traceback: str = ""


def train_here(run: TrainingRun) -> Failure | None:
    """Run an entry's ``train`` in this process; it sees SIGTERM and SIGINT as one KeyboardInterrupt.

    Returns
    -------
    Failure or None
        None if ``train`` returned.
    """
    try:
        _train(run)
    except QpibenchError as error:
        return Failure(message=str(error), exit_code=error.exit_code)
    except ImportError as error:
        module = missing_module(error)
        if module is None:
            return _of_code(run, error)
        return Failure(message=_missing(run, module), exit_code=UnavailableError.exit_code)
    except SystemExit as error:
        return _of_code(run, error) if error.code else None
    except Exception as error:
        return _of_code(run, error)
    return None


def _train(run: TrainingRun) -> None:
    train = _find_train(run)
    if run.entry_path in shipped_entries().values():
        # The loop imports some of them late; an error now is better than one after hours.
        for module in TRAINING:
            if importlib.util.find_spec(module) is None:
                raise UnavailableError(_missing(run, module))
    for ending in _ENDINGS:  # SIGINT too, which is ignored in processes that a shell started in the background
        signal.signal(ending, _interrupt_once)
    train(run)


def _find_train(run: TrainingRun) -> Callable[[TrainingRun], object]:
    file = run.entry_path.name
    try:
        found = getattr(import_file(run.entry_path), "train", None)
    except InterfaceError as error:
        raise InvalidDataError(f"{error}.") from None
    if not callable(found):
        raise InvalidDataError(f"Entry '{run.entry}' cannot be trained: {file} defines no function train(run).")
    with suppress(ValueError):  # inspect cannot read the signature of a builtin
        try:
            inspect.signature(found).bind(run)
        except TypeError:
            raise InvalidDataError(f"{file}: train does not take the run alone; write def train(run).") from None
    return found  # type: ignore[no-any-return]


def _missing(run: TrainingRun, module: str) -> str:
    return missing_package(f"Training '{run.entry}'", module) + "."


def _of_code(run: TrainingRun, error: BaseException) -> Failure:
    message, trace = describe(error, run.entry_path.parent)
    return Failure(
        message=f"Training '{run.entry}' failed: {message}.", exit_code=QpibenchError.exit_code, traceback=trace
    )


def _tell(place: Path, failure: Failure) -> NoReturn:
    for ending in _ENDINGS:  # a signal must not cut off the message
        signal.signal(ending, signal.SIG_IGN)
    with suppress(OSError), open(place, "x", encoding="utf-8") as file:
        json.dump(asdict(failure), file)
        file.flush()
        os.fsync(file.fileno())
    sys.exit(failure.exit_code)


if __name__ == "__main__":
    main()
