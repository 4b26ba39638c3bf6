"""Selection of the backend that makes images: CPU or GPU."""

from __future__ import annotations

from qpibench.errors import UsageError
from qpibench.synthesis.contract import Backend


def get_backend(name: str = "auto") -> tuple[Backend, str]:
    """Return a backend, and one sentence that says which it is and why.

    Parameters
    ----------
    name
        ``"cpu"``, ``"cuda"``, or ``"auto"``: the GPU if there is one, otherwise the CPU.

    Raises
    ------
    UnavailableError
        If ``"cuda"`` is requested and no GPU can be used; the CPU does not replace it.
    UsageError
        If there is no backend with this name.
    """
    from qpibench.synthesis.cpu import CpuBackend

    if name == "cpu":
        return CpuBackend(), "CPU backend, as asked for."
    if name not in ("auto", "cuda"):
        raise UsageError(f"There is no backend '{name}'; known backends: auto, cpu, cuda.")
    from qpibench.synthesis.cuda import CudaBackend
    from qpibench.synthesis.device import NoGpuError

    try:
        backend = CudaBackend()
    except NoGpuError as error:
        if name == "cuda":
            raise
        return CpuBackend(), f"CPU backend, because {error.reason}."
    return backend, f"CUDA backend on {backend.device.name}."
