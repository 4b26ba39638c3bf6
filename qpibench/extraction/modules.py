"""Modules of a folder of entries, kept apart from those of the caller."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from threading import RLock
from types import ModuleType

from qpibench.errors import InvalidDataError, QpibenchError, UnavailableError
from qpibench.evaluation.isolation.failure import describe
from qpibench.evaluation.isolation.shadowing import ShadowingError, check_names, is_library
from qpibench.locator import locate


class EntryModules:
    """The modules of a folder, importable only within :meth:`present`.

    Entries import the modules beside them by short names, such as ``shared``. Outside of :meth:`present` these names
    mean the caller's own modules, whether they were imported before or are imported later.

    Parameters
    ----------
    folder
        Folder of the entries.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: dict[str, ModuleType] = {}
        self._hidden: dict[str, ModuleType] = {}
        self._users = 0
        self._lock = RLock()

    @contextmanager
    def present(self) -> Iterator[None]:
        """Make the modules importable during the context, which several threads may share."""
        with self._lock:
            if not self._users:
                self._hidden = self._take_out()
                sys.modules.update(self._own)
                sys.path.insert(0, str(self._folder))
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    if str(self._folder) in sys.path:
                        sys.path.remove(str(self._folder))
                    self._own = self._take_out()
                    sys.modules.update(self._hidden)

    def load(self, path: Path) -> ModuleType:
        """Import an entry's file, within :meth:`present`.

        Raises
        ------
        InvalidDataError
            If the file cannot be imported, or if it or a module beside it has the name of a library.
        UnavailableError
            If a package is missing that it imports.
        """
        if path.stem in self._own:
            return self._own[path.stem]
        try:
            check_names(path)
        except ShadowingError as error:
            raise InvalidDataError(f"{error}.") from None
        try:
            return importlib.import_module(path.stem)
        except ModuleNotFoundError as error:
            raise UnavailableError(
                f"Entry '{path.stem}' needs the package '{error.name}', which is missing."
            ) from error
        except QpibenchError:
            raise
        except Exception as error:
            raise InvalidDataError(f"Entry '{path.stem}' cannot be used: {describe(error, path.parent)[0]}.") from error

    def _take_out(self) -> dict[str, ModuleType]:
        """Remove the modules with the names of the folder's modules from those that are imported."""
        return {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in self._names}

    @cached_property
    def _names(self) -> frozenset[str]:
        """Names of the modules and packages in the folder; those of libraries keep their meaning."""
        files = (*self._folder.glob("*.py"), *(path.parent for path in self._folder.glob("*/__init__.py")))
        return frozenset(name for path in files if not is_library(name := path.stem))


def modules_of(folder: Path) -> EntryModules:
    """Return the modules of a folder: those of the shipped entries are kept, and those of others imported anew."""
    return _shipped() if folder == locate("baselines") else EntryModules(folder)


@cache
def _shipped() -> EntryModules:
    return EntryModules(locate("baselines"))
