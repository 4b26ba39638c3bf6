"""Fast generation of images: counter-based draws, and backends that give the same bits."""

from qpibench.arithmetic.streams import Domain
from qpibench.synthesis.backends import get_backend
from qpibench.synthesis.contract import Backend, Kernels, Observations

__all__ = ["Backend", "Domain", "Kernels", "Observations", "get_backend"]
