"""Functions that write the record of a training run, ``run.json`` in its folder; evaluation reads it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qpibench import __version__
from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.evaluation.entries import file_sha256, find_code
from qpibench.evaluation.entry_code import code_sha256
from qpibench.evaluation.environment import environment
from qpibench.evaluation.run_record import Best, RunFolder, RunRecord, SourceRecord, load_run
from qpibench.extras import TRAINING
from qpibench.files import check_file, check_folder, make_folder, write_whole
from qpibench.paths import text_of_path
from qpibench.release.lock import LockedError, lock
from qpibench.specs.load import explain
from qpibench.training.request import TrainingRun
from qpibench.training.variables import ignored_variables, recorded_variables

__all__ = ["Best", "RunFolder", "RunRecord", "SourceRecord", "begin_run", "load_run", "update_run"]

_COMPARED = ("entry", "config", "seed", "source", "steps_stated")


def begin_run(
    run: TrainingRun,
    *,
    config: Mapping[str, Any],
    source: SourceRecord,
    steps_stated: int,
    steps_budget: int,
    hardware: str | None = None,
    numerics: Mapping[str, str] | None = None,
) -> RunRecord:
    """Write run.json at the start of a new run or of a resumed one.

    Parameters
    ----------
    run
        The request.
    config
        All settings of the entry's training (recipe, preset, options, numbers), values of JSON. A resumed run must have
        the same.
    source
        Record of the training images.
    steps_stated
        Number of steps in the recipe, all stages together.
    steps_budget
        Number of steps allowed, all stages and starts together.
    hardware
        Name of the device that trains; by default the processor.
    numerics
        Settings of libraries that decide how numbers are rounded, by name.

    Returns
    -------
    RunRecord
        The record. A resumed run keeps the old ``steps_done``, ``seconds``, ``best`` and ``weights_sha256``.

    Raises
    ------
    UsageError
        If the folder holds a run and ``run.resume`` is not set, if that run has other settings or is complete with
        another number of steps, or if the folder cannot be written to.
    InvalidDataError
        If the folder's run.json is corrupt.
    QpibenchError
        If writing fails, as on a full disk.
    """
    folder = RunFolder(run.folder)
    old = former_run(run)
    where = environment() | _versions()
    record = RunRecord.model_validate(
        {
            "entry": run.entry,
            "entry_file": _entry_file(run),
            "entry_sha256": file_sha256(run.entry_path),
            "code_sha256": code_sha256(run.entry_path),
            "qpibench_version": __version__,
            "git_commit": _git_commit(run.entry_path.parent),
            "config": json.loads(json.dumps(dict(config), allow_nan=False)),  # tuples become lists
            "options": json.loads(json.dumps(dict(run.options))),
            "seed": run.seed,
            "source": source,
            "steps_stated": steps_stated,
            "steps_budget": steps_budget,
            "hardware": hardware or f"{where['cpu']}, {where['cpu_count']} logical processors",
            "environment": where,
            "numerics": dict(numerics or {}),
            "variables": recorded_variables(),
            "ignored_variables": ignored_variables(),
        }
    )
    if old is not None:
        changes = list(_changes(old, record))
        if changes:
            raise UsageError(
                f"'{folder.path}' holds another run, which cannot be continued with what is asked:"
                f" {'; '.join(changes)}; ask for the same, or use another folder."
            )
        if old.status == "complete" and old.steps_budget != steps_budget:
            held = (
                f"a run that --steps {old.steps_budget} ended; it is complete, and --resume cannot make it a run"
                if old.ended_by_steps
                else f"a complete run of {old.steps_budget:,} steps, which --resume cannot turn into one"
            )
            raise UsageError(
                f"'{folder.path}' holds {held} of {steps_budget:,} steps; for that, train in another folder."
            )
        kept = ("steps_done", "seconds", "best", "weights_sha256")
        record = record.model_copy(update={name: getattr(old, name) for name in kept})
    make_folder(folder.path)
    _write(folder, record)
    return record


@contextmanager
def only_training(run: TrainingRun) -> Iterator[None]:
    """Make the run folder, and keep other processes from training in it meanwhile, if its file system has locks.

    Raises
    ------
    UsageError
        If the folder cannot be created.
    QpibenchError
        If another process trains in it.
    """
    make_folder(run.folder)
    folder = os.open(run.folder, os.O_RDONLY)
    try:
        try:
            lock(folder)
        except LockedError:
            raise QpibenchError(
                f"Another process is training in '{run.folder}'; wait for it or use another folder."
            ) from None
        try:
            yield
        finally:
            with suppress(OSError):  # it has files, unless training failed at once
                run.folder.rmdir()
    finally:
        os.close(folder)


def former_run(run: TrainingRun) -> RunRecord | None:
    """Return the record of the run that the folder already holds, or None.

    Raises
    ------
    UsageError
        If it holds a run and ``run.resume`` is not set, or weights or a checkpoint without a run.json, or the run's
        files cannot be written there.
    InvalidDataError
        If its run.json is corrupt.
    """
    folder = RunFolder(run.folder)
    check_folder(folder.path)
    if os.path.isdir(folder.path):
        for path in (folder.record, folder.weights, folder.checkpoint, folder.log, folder.curves):
            check_file(path)
    if not folder.record.exists():
        for path in (folder.checkpoint, folder.weights):
            if path.exists():
                raise UsageError(
                    f"'{run.folder}' holds {path.name} of a run, but no {folder.record.name}; restore that file, or use"
                    " another folder."
                )
        return None
    if not run.resume:
        raise UsageError(f"'{run.folder}' holds a run already; use --resume to continue it, or another folder.")
    return load_run(run.folder)


def update_run(folder: RunFolder | Path, **changes: Any) -> RunRecord:
    """Change fields of run.json; the file is replaced as a whole.

    Raises
    ------
    InvalidDataError
        If run.json is corrupt, or a new value is not valid.
    QpibenchError
        If writing fails, as on a full disk.
    """
    place = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    old = load_run(place.path)
    try:
        record = RunRecord.model_validate({**dict(old), **changes})
    except ValidationError as error:
        raise InvalidDataError(f"'{place.record}' cannot be changed: {explain(error, RunRecord)}.") from None
    _write(place, record)
    return record


def _write(folder: RunFolder, record: RunRecord) -> None:
    write_whole(folder.record, (record.model_dump_json(indent=2) + "\n").encode(), what="Run record")


def _changes(old: RunRecord, new: RunRecord) -> Iterator[str]:
    """Say what differs; the numbers of another entry or of another recipe differ anyway and are left out."""
    left, right = (record.model_dump(mode="json", include=set(_COMPARED)) for record in (old, new))
    told = _COMPARED if old.recipe == new.recipe else tuple(name for name in _COMPARED if name != "steps_stated")
    for name in told if old.entry == new.entry else ("entry",):
        yield from _differences(name, left[name], right[name])


def _differences(where: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        renamed = old.get("name") != new.get("name")
        for key in ["name"] if renamed else dict.fromkeys([*old, *new]):
            yield from _differences(f"{where}.{key}", old.get(key), new.get(key))
    elif old != new:
        yield f"{where} was {old!r} and is {new!r}"


def _entry_file(run: TrainingRun) -> str | None:
    with suppress(UsageError, InvalidDataError):
        if find_code(run.entry).path == run.entry_path:
            return None
    return text_of_path(Path(os.path.relpath(run.entry_path, run.folder)).as_posix())


def _versions() -> dict[str, str]:
    """Return the versions of the training packages that this process has imported."""
    return {name: importlib.metadata.version(package) for name, package in TRAINING.items() if name in sys.modules}


def _git_commit(folder: Path) -> str | None:
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return None
    return described.stdout.decode("ascii", "replace").strip() or None if described.returncode == 0 else None
