"""Choosing a backend."""

from __future__ import annotations

from qpibench.errors import UsageError
from qpibench.synthesis.contract import Backend


def get_backend(name: str = "auto") -> tuple[Backend, str]:
    """A backend, and one sentence that says which it is and why.

    Parameters
    ----------
    name
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for the GPU where there is one.

    Raises
    ------
    UnavailableError
        If ``"cuda"`` is asked for and cannot be had: a GPU is never replaced in silence.
    UsageError
        If there is no backend of that name.
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
