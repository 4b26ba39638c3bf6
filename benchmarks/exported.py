"""Trained weights to be kept: run folders with only the record and the weights (float16), within limits of size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qpibench.errors import InvalidDataError
from qpibench.evaluation.entries import file_sha256
from qpibench.files import make_folder, write_whole
from qpibench.training import RunFolder, load_run

LARGEST_RUN = 15_000_000
LARGEST_SUM = 60_000_000
"""Bytes of the exported files of a run, and of all runs together."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Run folders whose weights are exported, and by name of the others why they are not."""

    kept: tuple[Path, ...]
    left_out: dict[str, str]


def exported_files(run: Path) -> tuple[Path, Path]:
    """Return the files of a run folder that are exported; they are a model for ``qpibench evaluate``."""
    return RunFolder(run).record, RunFolder(run).weights


def choose_runs(runs: Sequence[Path], *, largest: int = LARGEST_RUN, together: int = LARGEST_SUM) -> Choice:
    """Choose the run folders that fit within the limits, the first ones first."""
    kept: list[Path] = []
    left_out: dict[str, str] = {}
    used = 0
    for run in runs:
        reason = _unsound(run)
        size = 0 if reason else sum(path.stat().st_size for path in exported_files(run))
        if not reason and size > largest:
            reason = f"its weights and record take {_megabytes(size)}, and a run may take {_megabytes(largest)}"
        if not reason and used + size > together:
            reason = (
                f"its weights and record take {_megabytes(size)}, but of the {_megabytes(together)} for all runs"
                f" {_megabytes(together - used)} are left"
            )
        if reason:
            left_out[run.name] = f"The weights of '{run.name}' are not exported: {reason}."
        else:
            kept.append(run)
            used += size
    return Choice(kept=tuple(kept), left_out=left_out)


def export_runs(runs: Sequence[Path], folder: Path) -> Choice:
    """Copy the chosen runs to ``folder/NAME``; files that are there already and equal are not written again.

    Raises
    ------
    UsageError
        If a folder cannot be made.
    QpibenchError
        If a file cannot be written.
    """
    choice = choose_runs(runs)
    for run in choice.kept:
        target = folder / run.name
        make_folder(target)
        for path in exported_files(run):
            copy, content = target / path.name, path.read_bytes()
            if not copy.exists() or copy.read_bytes() != content:
                write_whole(copy, content, what="Exported file")
    return choice


def _unsound(run: Path) -> str | None:
    """Return why a run folder is no model at present, or None."""
    record, weights = exported_files(run)
    if not (record.exists() and weights.exists()):
        return "it has none yet"
    try:
        expected = load_run(run).weights_sha256
    except InvalidDataError as error:
        return str(error).rstrip(".")
    return None if file_sha256(weights) == expected else "they are not those that its run.json describes"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
