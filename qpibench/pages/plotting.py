"""Matplotlib for files: drawn with a file backend and a complete style, so the user's settings change no byte.

Import this module before Matplotlib. Matplotlib cannot be imported at all where the variable MPLBACKEND names a backend
that does not exist here, as it does in the subprocesses of some notebooks; this module imports it without the variable.
For a user without a home folder it names a temporary folder for Matplotlib's settings: before version 3.11, Matplotlib
cannot be imported there without one.
"""

from __future__ import annotations

import atexit
import importlib
import io
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from qpibench.errors import UnavailableError
from qpibench.home import home

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BACKENDS = {"svg": "svg", "png": "agg"}

# Matplotlib's settings of windows and of sessions, which files do not depend on.
_OF_SESSIONS = frozenset({"backend", "backend_fallback", "interactive"})


def _import_matplotlib() -> None:
    if "matplotlib" in sys.modules:
        return
    if home() is None and "MPLCONFIGDIR" not in os.environ:
        os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="qpibench-")
        atexit.register(shutil.rmtree, os.environ["MPLCONFIGDIR"], ignore_errors=True)
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        matplotlib = importlib.import_module("matplotlib")
        if backend:
            with suppress(ValueError):  # a backend that does not exist here
                matplotlib.rcParams["backend"] = backend
    except (ValueError, OSError) as error:
        raise UnavailableError(
            f"Matplotlib cannot be imported ({error}); mend or remove the file matplotlibrc in this folder, or the one"
            " that the variable MATPLOTLIBRC names."
        ) from None
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


_import_matplotlib()


@contextmanager
def own_style(settings: Mapping[str, Any]) -> Iterator[None]:
    """Draw with Matplotlib's defaults and these settings, and restore the user's settings at the end.

    Figures must be made and written within the context.
    """
    import matplotlib as mpl

    complete: Any = {name: mpl.rcParamsDefault[name] for name in mpl.rcParamsDefault if name not in _OF_SESSIONS}
    complete.update(settings)
    with mpl.rc_context(complete):
        yield


def file_content(figure: Figure, kind: Literal["svg", "png"], **options: Any) -> bytes:
    """A figure as the content of a file, without date and version; ``options`` are those of ``Figure.savefig``."""
    target = io.BytesIO()
    unset = {"svg": {"Date": None}, "png": {"Software": None}}[kind]
    with warnings.catch_warnings():
        # A name in a measured file may have any character; one that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        figure.savefig(target, format=kind, backend=_BACKENDS[kind], metadata=unset, **options)
    return target.getvalue()
