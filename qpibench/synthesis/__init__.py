"""How images are made fast: counter-based draws and one contract, kept by every backend bit for bit."""

from qpibench.arithmetic.streams import Domain
from qpibench.synthesis.backends import get_backend
from qpibench.synthesis.contract import Backend, Kernels, Observations

__all__ = ["Backend", "Domain", "Kernels", "Observations", "get_backend"]
