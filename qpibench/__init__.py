"""Generate quasiparticle-interference images fast and exactly, and evaluate how well models recover the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qpibench.synthesis.torch_stream import stream
    from qpibench.tasks.batch import Batch, Prediction

__version__ = "0.1.0"
__all__ = ["Batch", "Prediction", "__version__", "stream"]


def __getattr__(name: str) -> Any:
    # What a model's file or a training loop imports, without making every `import qpibench` pay for it.
    if name in ("Batch", "Prediction"):
        from qpibench.tasks import batch

        return getattr(batch, name)
    if name == "stream":
        from qpibench.synthesis.torch_stream import stream

        return stream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
