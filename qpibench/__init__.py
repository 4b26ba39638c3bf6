"""Generate quasiparticle-interference images fast and exactly, and evaluate how well models recover the kernel.

``dir(qpibench)`` lists the public names. A name is imported when it is first used, so that ``import qpibench`` stays
fast. The names that need PyTorch (``ReleaseDataset``, ``stream``) or xarray (``to_xarray``) are listed only where that
package is installed.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qpibench.grid import Grid
    from qpibench.physics.activation import activation_map
    from qpibench.release.reader import Release, open_release
    from qpibench.release.torch_view import ReleaseDataset
    from qpibench.release.verify import verify_release
    from qpibench.release.xarray_view import to_xarray
    from qpibench.specs import load_spec
    from qpibench.synthesis.torch_stream import stream
    from qpibench.tasks.batch import Batch, Prediction

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Grid",
    "Prediction",
    "Release",
    "ReleaseDataset",
    "__version__",
    "activation_map",
    "load_spec",
    "open_release",
    "stream",
    "to_xarray",
    "verify_release",
]

_MODULES = {
    "Batch": "qpibench.tasks.batch",
    "Grid": "qpibench.grid",
    "Prediction": "qpibench.tasks.batch",
    "Release": "qpibench.release.reader",
    "ReleaseDataset": "qpibench.release.torch_view",
    "activation_map": "qpibench.physics.activation",
    "load_spec": "qpibench.specs",
    "open_release": "qpibench.release.reader",
    "stream": "qpibench.synthesis.torch_stream",
    "to_xarray": "qpibench.release.xarray_view",
    "verify_release": "qpibench.release.verify",
}

# `from qpibench import *` and the completion of a terminal import every name that is listed here.
if find_spec("torch") is None:
    __all__.remove("ReleaseDataset")
    __all__.remove("stream")
if find_spec("xarray") is None:
    __all__.remove("to_xarray")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
