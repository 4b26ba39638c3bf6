"""Optional packages, and the message for a missing one."""

from __future__ import annotations

import importlib
from typing import Any

from qpibench.errors import UnavailableError

TRAINING = {
    "torch": "torch",
    "diffusers": "diffusers",
    "accelerate": "accelerate",
    "safetensors": "safetensors",
    "tensorboard": "tensorboard",
    "sklearn": "scikit-learn",
}
"""Packages that ``qpibench[training]`` installs, by the names of their modules."""

DASK = {"dask": "dask", "distributed": "distributed", "dask_jobqueue": "dask-jobqueue"}
"""Packages of dask that ``qpibench[dask]`` installs, by the names of their modules."""

REMOTE = {"fsspec": "fsspec", "aiohttp": "aiohttp", "s3fs": "s3fs"}
"""Packages that ``qpibench[remote]`` installs, by the names of their modules."""

_EXTRAS = {"training": TRAINING, "dask": DASK, "remote": REMOTE}


def missing_module(error: ImportError) -> str | None:
    """Return the module of :data:`TRAINING` that an import did not find; None if it failed for another reason."""
    name = (error.name or "").partition(".")[0]
    return name if isinstance(error, ModuleNotFoundError) and name in TRAINING else None


def missing_package(what: str, module: str) -> str:
    """Return the message that something needs a package of an extra: one sentence without its full stop."""
    extra = next(name for name, packages in _EXTRAS.items() if module in packages)
    return (
        f"{what} needs the package {_EXTRAS[extra][module]}, which is not installed; install it with:"
        f' pip install "qpibench[{extra}]"'
    )


def optional_module(module: str, what: str) -> Any:
    """Import a module of an extra when it is needed.

    Parameters
    ----------
    module
        Name of the module, one of :data:`TRAINING`, :data:`DASK` or :data:`REMOTE`.
    what
        What needs it, the subject of the message, such as ``"Training 'two_step'"``.

    Raises
    ------
    UnavailableError
        If the package is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module:
            raise
        raise UnavailableError(f"{missing_package(what, module)}.") from error
