"""Finds files of the user whose names hide a library, before the import fails with an obscure error."""

from __future__ import annotations

import ast
import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from qpibench.evaluation.import_statements import import_statements

_RESERVED = ("qpibench", "numpy", "torch")  # the worker imports these names, installed or not


class ShadowingError(Exception):
    """A file of the user has the name of a needed library."""


def check_names(path: Path) -> None:
    """Refuse a model's file, or a module beside it that it imports, whose name is that of a library.

    Libraries are Python's own modules and installed packages. A model's file may have the name of one of Python's own
    modules if nothing has imported that.

    Raises
    ------
    ShadowingError
        If a file has such a name.
    """
    imported: set[str] = set()
    waiting = {path}
    while waiting:  # the files that it imports from its folder import others
        new = set(_imported_names(waiting.pop())) - imported
        imported |= new
        waiting |= {file for name in new if not is_library(name) and (file := _sibling(name, path.parent))}
    if path.stem in imported | sys.modules.keys() or _installed(path.stem):
        _refuse(path.stem, path.parent, path)
    for name in sorted(imported):
        _refuse(name, path.parent, path)


class Guard(MetaPathFinder):
    """Import hook that refuses the import of a library if a file in the model's folder has its name.

    Parameters
    ----------
    model
        The model's file.
    """

    def __init__(self, model: Path) -> None:
        self._model = model

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return None, so that the next finders import the module.

        Raises
        ------
        ShadowingError
            If a file in the model's folder would be imported in place of a library.
        """
        if path is None:
            _refuse(fullname, self._model.parent, self._model)
        return None


def is_library(name: str) -> bool:
    """Return whether a name is that of one of Python's own modules or of an installed package."""
    return name in sys.stdlib_module_names or _installed(name)


def _refuse(name: str, folder: Path, model: Path) -> None:
    file = _sibling(name, folder)
    if file is None or not is_library(name):
        return
    place = f"'{file.name}' beside the model {model.name}"
    if file == model:
        place = f"the model's file '{file.name}'"
    elif file.name == "__init__.py":
        place = f"the folder '{file.parent.name}' beside the model {model.name}"
    of = "Python's own module" if name in sys.stdlib_module_names else "the package"
    raise ShadowingError(f"{place} has the name of {of} '{name}', so one hides the other; rename it")


def _sibling(name: str, folder: Path) -> Path | None:
    """Return the user's file that an import of this name would run; None if it would run the library."""
    for file in (folder / name / "__init__.py", folder / f"{name}.py"):
        if file.is_file() and not _within(file, _library_folders()):
            return file
    return None


def _installed(name: str) -> bool:
    if name in _RESERVED:
        return True
    spec = PathFinder.find_spec(name, _library_folders())
    return spec is not None and spec.loader is not None


def _library_folders() -> list[str]:
    known = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages()]
    return [*known, *(entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages"))]


def _within(file: Path, folders: list[str]) -> bool:
    """Return whether a file lies in one of these folders; a registered entry may lie there too."""
    return any(file.resolve().parent in (place, place / file.parent.name) for place in map(Path, folders))


def _imported_names(path: Path) -> Iterator[str]:
    """Return the top-level names in a file's import statements; none if the file cannot be parsed."""
    for node in import_statements(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif not node.level and node.module:
            yield node.module.partition(".")[0]
