"""Functions that Numba compiles at their first call and keeps in its cache on disk.

All cached functions of the package use this decorator. They work if no cache can be written, the user is told before
the first compilation, and the time of compilations is recorded.

These functions copy arrays by loops. For an assignment of an array to a slice, Numba also compiles the text of an error
about shapes, which takes longer than most functions.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numba as nb
from numba.core import event
from numba.core.caching import CompileResultCacheImpl, FunctionCache

from qpibench import notices
from qpibench.home import home

ADVICE = "set NUMBA_CACHE_DIR to a folder that can be written to"

_UNREADABLE = (OSError, EOFError, ValueError, pickle.UnpicklingError)
"""Errors raised when a cache file cannot be read or was truncated by a crash."""

_cached: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""The compiled functions of this package, and whether each has a cache on disk."""


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function with Numba at its first call, and keep the machine code on disk for later processes.

    Where no cache can be written the function is compiled in every process.

    Parameters
    ----------
    **options
        Options of ``numba.njit``, such as ``nogil=True``; not ``cache``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        made = nb.njit(**options)(function)
        if nb.config.DISABLE_JIT:  # type: ignore[attr-defined]
            return made
        try:
            made._cache = _Cache(function)  # as dispatchers do for cache=True
        except RuntimeError:  # Numba found no folder that it can write to
            _cached[made] = False
        else:
            _cached[made] = True
        return made

    return decorate


def compile_seconds() -> float:
    """Return the time in s that this process has spent compiling functions of this package."""
    return _watch.seconds


class _Homeless(CompileResultCacheImpl):
    """Finds a folder for the cache, but none for the user: without a home folder Numba would create one named ``~``."""

    _locator_classes = [  # noqa: RUF012  # a list in Numba too
        each for each in CompileResultCacheImpl._locator_classes if "UserWide" not in each.__name__
    ]


class _Cache(FunctionCache):
    """Numba's cache of a function; if reading or writing it fails, the function is compiled again."""

    _impl_class = CompileResultCacheImpl if home() else _Homeless

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except _UNREADABLE:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            try:
                super().save_overload(sig, data)
            except _UNREADABLE:  # the index, to which an entry is added
                self.flush()
                super().save_overload(sig, data)
        except OSError as error:  # such as a full disk
            notices.warn(
                f"Numba's cache in '{self.cache_path}' cannot be written ({error.strerror}), so the next start compiles"
                f" again; {ADVICE}."
            )


class _Watch(event.Listener):
    """Tells the user about the first compilation and adds up the time of all compilations.

    Numba calls it while holding its compilation lock. Compiling one function may compile others.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._within = 0
        self._started = 0.0

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"]
        if not self._within and function not in _cached:  # another package's
            return
        if not self._within:
            self._started = time.perf_counter()
            _announce(is_kept=_cached[function])
        self._within += 1

    def on_end(self, event: Any) -> None:
        if not self._within:
            return
        self._within -= 1
        if not self._within:
            self.seconds += time.perf_counter() - self._started


def _announce(*, is_kept: bool) -> None:
    if is_kept:
        notices.note("Compiling for this processor, once; this can take a minute.")
    else:
        notices.warn(
            "Compiling for this processor, which can take a minute and is repeated at every start: Numba can write its"
            f" cache neither beside the package nor in the home folder; {ADVICE}."
        )


_watch = _Watch()
event.register("numba:compile", _watch)
