"""From what the user wrote to a model's file. Nothing here imports it: that is the worker's part."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from qpibench.errors import InvalidDataError, UsageError
from qpibench.locator import locate

GROUP = "qpibench.entries"
"""Entry-point group of models in other packages: ``name = "package.module"`` or ``"package.module:NAME"``."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model that can be run.

    Attributes
    ----------
    name
        How the board calls it.
    path
        Its file.
    target
        The function or class in it that predicts; None for ``predict`` or ``Model``.
    """

    name: str
    path: Path
    target: str | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        return file_sha256(self.path)


def find_entry(text: str) -> Entry:
    """Find a model: a file, ``FILE.py:NAME``, or the name of a shipped or registered entry.

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
    if path.is_file():
        name = path.stem if target is None else f"{path.stem}:{target}"
        return Entry(name=name, path=path.resolve(), target=target)
    if path.is_dir():
        raise UsageError(f"'{text}' is a folder; give the model's Python file inside it.")
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
    """The entries that come with the package: file by name."""
    return {path.stem: path for path in sorted(locate("baselines").glob("[!_]*.py"))}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises
    ------
    InvalidDataError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidDataError(f"File '{path}' of the model cannot be read: {error.strerror}.") from None


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
    """File of a module, found without importing its packages (importlib.util.find_spec would)."""
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
    neighbours = [str(folder / other.name) for other in folder.glob("*.py")] if folder.is_dir() else []
    near = difflib.get_close_matches(str(path), neighbours, n=1) or difflib.get_close_matches(path.stem, names, n=1)
    return f" Did you mean '{near[0]}'?" if near else f" Shipped entries: {', '.join(sorted(names)) or 'none'}."
