"""Generate quasiparticle-interference images fast and exactly, and evaluate how well models recover the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qpibench.tasks.batch import Batch, Prediction

__version__ = "0.1.0"
__all__ = ["Batch", "Prediction", "__version__"]


def __getattr__(name: str) -> Any:
    # What a model's file imports, without making every `import qpibench` pay for it.
    if name in ("Batch", "Prediction"):
        from qpibench.tasks import batch

        return getattr(batch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
