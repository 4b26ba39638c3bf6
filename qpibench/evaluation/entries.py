"""Finds the file of a model from the text that the user gave. The worker imports it; this module does not."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.run_record import RunFolder, RunRecord, load_run
from qpibench.evaluation.trained import model_name
from qpibench.locator import locate
from qpibench.paths import path_of_text, text_of_path

GROUP = "qpibench.entries"
"""Entry-point group of models in other packages: ``name = "package.module"`` or ``"package.module:NAME"``."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model that can be run.

    Attributes
    ----------
    name
        Name on the board.
    path
        The model's Python file.
    target
        Name of the function or class in the file that predicts; None for ``predict`` or ``Model``.
    folder, run
        The run folder with its weights, and the record of their training; None for a model without a run folder.
    """

    name: str
    path: Path
    target: str | None = None
    folder: RunFolder | None = None
    run: RunRecord | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        return file_sha256(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """The model's known files: its Python file and the files of its run folder."""
        return (self.path,) if self.folder is None else (self.path, self.folder.record, self.folder.weights)

    def weights_sha256(self) -> dict[str, str]:
        """SHA-256 of the weights in the run folder, by their name; empty without one.

        Raises
        ------
        InvalidDataError
            If the weights cannot be read, or those of a finished run are not the ones that the run wrote.
        """
        if self.folder is None or self.run is None:
            return {}
        path = self.folder.weights
        digest = file_sha256(path)
        # A running or killed run may have written its weights without their hash.
        if self.run.status != "running" and digest != self.run.weights_sha256:
            raise InvalidDataError(
                f"'{path}' is not the file that its run.json describes: its SHA-256 is {digest}, expected is"
                f" {self.run.weights_sha256}; train again, or restore it."
            )
        return {path.name: digest}


def find_entry(text: str) -> Entry:
    """Find a model: a file, ``FILE.py:NAME``, the name of a shipped or registered entry, or a run folder.

    A run folder is a model of the entry that it names. If a run folder ``weights/NAME`` lies beside the file of the
    entry NAME, the entry uses its weights.

    Raises
    ------
    UsageError
        If there is no such model.
    InvalidDataError
        If the file of a registered entry or of a run folder's entry cannot be found, or a run folder has no valid
        run.json or no weights.
    """
    folder = RunFolder(Path(text).absolute())
    if os.path.exists(folder.record):
        run = load_run(folder.path)
        return _trained_entry(_code_of(folder, run), folder, run)
    entry = find_code(text)
    kept = RunFolder(entry.path.parent / "weights" / entry.name)
    if kept.record.exists():
        run = load_run(kept.path)
        if run.entry == entry.name:
            return _trained_entry(entry, kept, run)
    return entry


def find_code(text: str) -> Entry:
    """Find a model's file as :func:`find_entry` does, but without weights; a run folder is refused.

    Raises
    ------
    UsageError
        If there is no such model.
    InvalidDataError
        If a registered entry's file cannot be found.
    """
    if not text.strip():
        raise UsageError("No model is named; give a Python file or the name of an entry.")
    file, target = _split(text)
    path = Path(file)
    if os.path.isfile(path):
        stem = text_of_path(path.stem)
        name = stem if target is None else f"{stem}:{target}"
        return Entry(name=name, path=path.resolve(), target=target)
    if os.path.isdir(path):
        raise UsageError(
            f"'{text}' is a folder; give the model's Python file inside it, or a run folder of 'qpibench train', which"
            " has a run.json."
        )
    shipped = shipped_entries()
    if text in shipped:
        return Entry(name=text, path=shipped[text])
    registered = {point.name: point for point in entry_points(group=GROUP)}
    if text in registered:
        return _registered_entry(registered[text])
    if path.suffix == ".py" or path.name != file:
        raise UsageError(f"There is no model file '{file}'.{_suggestion(path, [*shipped, *registered])}")
    raise UsageError(f"There is no entry and no file '{text}'.{_suggestion(path, [*shipped, *registered])}")


def shipped_entries() -> dict[str, Path]:
    """Return the files of the shipped entries by name."""
    return {path.stem: path for path in sorted(locate("baselines").glob("[!_]*.py"))}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Raises
    ------
    InvalidDataError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidDataError(f"File '{path}' of the model cannot be read: {error.strerror}.") from None


def _code_of(folder: RunFolder, run: RunRecord) -> Entry:
    """Return the entry that a run record names."""
    try:
        if run.entry_file is None:
            return find_code(run.entry)
        _, colon, target = run.entry.partition(":")
        return find_code(f"{folder.path / path_of_text(run.entry_file)}{colon}{target}")
    except UsageError as error:
        raise InvalidDataError(f"'{folder.record}' is of the entry '{run.entry}', which is not here: {error}") from None


def _trained_entry(entry: Entry, folder: RunFolder, run: RunRecord) -> Entry:
    if not folder.weights.is_file():
        raise InvalidDataError(
            f"Run folder '{folder.path}' has no {folder.weights.name} yet: {run.steps_done:,} of {run.steps_stated:,}"
            " steps were done; train on with --resume."
        )
    return replace(entry, name=model_name(run), folder=folder, run=run)


def _split(text: str) -> tuple[str, str | None]:
    file, colon, target = text.rpartition(":")
    if colon and file.endswith(".py"):
        if not target.isidentifier():
            raise UsageError(f"'{text}' names no function or class: write FILE.py:NAME.")
        return file, target
    return text, None


def _registered_entry(point: EntryPoint) -> Entry:
    path = _module_file(point.module)
    if path is None:
        raise InvalidDataError(
            f"The registered entry '{point.name}' points at '{point.value}', which has no Python file here;"
            " install its package again."
        )
    return Entry(name=point.name, path=path, target=point.attr or None)


def _module_file(module: str) -> Path | None:
    """Return the file of a module without importing its packages, as importlib.util.find_spec would."""
    places: Sequence[str] | None = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), places)
        if spec is None:
            return None
        places = spec.submodule_search_locations or []
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def _suggestion(path: Path, names: Sequence[str]) -> str:
    folder = path.parent
    neighbours = [str(folder / other.name) for other in folder.glob("*.py")] if os.path.isdir(folder) else []
    likeness = {
        found: difflib.SequenceMatcher(None, found, wanted).ratio()
        for wanted, known in ((path.stem, names), (str(path), neighbours))
        for found in difflib.get_close_matches(wanted, known, n=1)
    }
    if not likeness:
        return f" Shipped entries: {', '.join(sorted(names)) or 'none'}."
    return f" Did you mean '{max(likeness, key=likeness.__getitem__)}'?"
