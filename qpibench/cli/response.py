"""Response of a command: its text, its JSON object, its warnings and its error, and how they are printed."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import click

from qpibench.cli.terminal import decoded, echo, printable, sentence
from qpibench.errors import QpibenchError, UsageError

SCHEMA_VERSION = 2
"""Version of the objects that ``--json`` prints."""

FAILURE = 1
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + 13


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a response is printed."""

    json: bool
    quiet: bool
    traceback: bool

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Self:
        """Find the settings among the arguments; errors in these arguments are printed by the same settings."""
        options = set(arguments[: arguments.index("--")] if "--" in arguments else arguments)
        return cls(json="--json" in options, quiet="--quiet" in options, traceback="--traceback" in options)


@dataclass(frozen=True, kw_only=True)
class Response:
    """Everything that a command prints, and its exit code.

    Attributes
    ----------
    text
        Text for people.
    fields
        JSON object for programs, which ``--json`` prints with ``schema_version``, ``warnings`` and ``error``. Numbers
        that are not finite become null.
    warnings
        One sentence each.
    error
        One sentence if the exit code is not 0, else None.
    traceback
        Traceback of the error; printed with ``--traceback``.
    exit_code
        See :mod:`qpibench.errors`.
    """

    text: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    error: str | None = None
    traceback: str = ""
    exit_code: int = 0


def settings() -> Settings:
    """Return the settings of the running command."""
    found: Settings = click.get_current_context().find_root().obj
    return found


def note(text: str) -> None:
    """Print a text on standard error, unless ``--quiet`` was given."""
    if not settings().quiet:
        echo(text, err=True)


def explain(error: BaseException) -> Response:
    """Turn an error into a response: one sentence and an exit code."""
    if isinstance(error, click.Abort) and error.__cause__ is not None:
        error = error.__cause__
    trace = "".join(traceback.format_exception(error))
    message, code = _sentence(error)
    return Response(error=message, exit_code=code, traceback=trace)


def show(response: Response, settings: Settings) -> int:
    """Print a response and return the exit code."""
    try:
        _print(response, settings)
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except OSError as error:
        _discard_output()
        with suppress(OSError):
            echo(f"Error: Standard output cannot be written: {error.strerror}.", err=True)
        return FAILURE
    return response.exit_code


def _print(response: Response, settings: Settings) -> None:
    warnings = [sentence(warning) for warning in response.warnings]
    for warning in warnings:
        echo(f"Warning: {warning}", err=True)
    if response.traceback and settings.traceback:
        echo(response.traceback.rstrip("\n"), err=True)
    error = None if response.error is None else sentence(response.error)
    if error is not None:
        echo(f"Error: {error}", err=True)
    if settings.json:
        content = {"schema_version": SCHEMA_VERSION, **response.fields}
        if warnings:
            content["warnings"] = warnings
        if error is not None:
            content["error"] = {"message": error, "exit_code": response.exit_code}
        echo(_as_json(content))
    elif response.text:
        echo(response.text)
    sys.stdout.flush()


def _as_json(content: Mapping[str, Any]) -> str:
    """JSON whose characters standard output has; others are escaped. Numbers that are not finite are null."""
    content = json.loads(json.dumps(content), parse_constant=lambda _: None)
    text = decoded(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
    return text if printable(text, sys.stdout) == text else json.dumps(json.loads(text), indent=2)


def _sentence(error: BaseException) -> tuple[str, int]:
    """Return the sentence for the user, and the exit code."""
    match error:
        case QpibenchError():
            return str(error), error.exit_code
        case click.ClickException():
            return _of_click(error), error.exit_code
        case KeyboardInterrupt() | click.Abort():
            return str(error) or "Interrupted.", INTERRUPTED
        case MemoryError():
            return "The memory of this machine is not enough; run with --traceback for details.", FAILURE
        case OSError() if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return f"'{error.filename}' cannot be opened: {error.strerror}; name another file.", UsageError.exit_code
        case OSError() if error.strerror:
            where = f"'{error.filename}': " if error.filename else ""
            return f"{where}{error.strerror}; run with --traceback for details.", FAILURE
        case _:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            return f"Unexpected {what} (run with --traceback for details).", FAILURE


def _of_click(error: click.ClickException) -> str:
    message = error.format_message()
    if not message.endswith((".", "?")):
        message += "."
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message} See '{context.command_path} --help'."


def _discard_output() -> None:
    # Text left in the buffer would fail again when Python ends.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
