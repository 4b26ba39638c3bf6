"""Failures of a model: one sentence with the user's own error and line."""

from __future__ import annotations

import re
import traceback
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from qpibench.errors import InvalidDataError, QpibenchError, UnavailableError

_LIBRARY = re.compile(r"[/\\](site|dist)-packages[/\\]")
_DUMPED_FRAME = re.compile(r'File "(.+?)", line (\d+)')  # as faulthandler writes it
_MAX_MESSAGE = 500
_MAX_TRACEBACK = 20_000  # an HDF5 attribute holds 64 kB


class ModelFailure(Exception):
    """A model broke the model contract or reached a limit.

    Attributes
    ----------
    kind
        ``import``, ``missing package``, ``interface``, ``raised``, ``prediction``, ``exited``, ``died``,
        ``time limit``, ``memory limit`` or ``protocol``.
    message
        One sentence.
    traceback
        The model's traceback or what it last printed; may be empty.
    """

    def __init__(self, kind: str, message: str, *, traceback: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.traceback = kind, _one_line(message), traceback[-_MAX_TRACEBACK:]

    @property
    def of_loading(self) -> type[QpibenchError]:
        """Class of the error that tells the user, if the model could not be loaded."""
        return UnavailableError if self.kind == "missing package" else InvalidDataError

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), traceback=self.traceback), (self.kind, self.message)


def describe(error: BaseException, folder: Path) -> tuple[str, str]:
    """Describe an error of a user's code in one sentence, and return its traceback.

    The sentence names the deepest line of the traceback in the user's own folder, which the user can change.
    """
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    where = next((place for file, line in reversed(frames) if (place := _place(file, line, folder))), None)
    return f"{where}: {_what(error)}" if where else _what(error), _users_part(error, folder)


def place_in_dump(log: str, folder: Path) -> str | None:
    """Return the innermost line of the user's own files in a faulthandler dump, such as ``my_model.py:12``."""
    start = log.rfind("Fatal Python error")
    if start < 0:
        return None
    frames = _DUMPED_FRAME.findall(log[start:])
    return next((place for file, line in frames if (place := _place(file, int(line), folder))), None)


def _place(file: str, line: int | None, folder: Path) -> str | None:
    path = Path(file)
    if not path.is_relative_to(folder) or _LIBRARY.search(file):
        return None
    return f"{path.relative_to(folder)}:{line}"


def _what(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"sys.exit({'' if error.code is None else repr(error.code)}) was called"
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:
        text = "(its text cannot be shown)"
    return _one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _users_part(error: BaseException, folder: Path) -> str:
    """Return the traceback from the first line of the user's own files on."""
    first: TracebackType | None = error.__traceback__
    while first is not None and not _place(first.tb_frame.f_code.co_filename, first.tb_lineno, folder):
        first = first.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, first or error.__traceback__))[-_MAX_TRACEBACK:]
    except Exception:
        return ""


def _one_line(text: str) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= _MAX_MESSAGE else joined[: _MAX_MESSAGE - 3] + "..."
